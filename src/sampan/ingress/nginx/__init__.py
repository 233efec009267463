"""nginx behind the model: rendered, checked, started, reloaded and fed. `Nginx.apply` is the way in.

    model.Configuration ──► render.py ─► nginx.conf ──── nginx -t, reload ──► nginx
                        └─► push.py ──► control.sock ──► shared memory ─────►  lua/*.lua

servers.py, locations.py, http.py and streams.py say what the model's parts are in nginx's words; directives.py is the
only place where text for nginx is made. engine.py decides between a push and a reload, and finds whose part is wrong
when nginx refuses one. master.py owns the process and the files.
"""

from sampan.ingress.nginx.engine import Applied, Nginx
from sampan.ingress.nginx.master import NginxError, Place

__all__ = ["Applied", "Nginx", "NginxError", "Place"]
