"""Ingress objects become the model's Configuration: pure, tolerant per object, and cheap for small changes.

ingresses.py reads each Ingress by itself (annotations.parse, filters.py), hosts.py merges those that name one host,
backends.py finds endpoints. `Translator` remembers all three and does again what a change touches; `translate` does it
once. The result goes to nginx/; the problems become events.
"""

from sampan.ingress.model import Settings
from sampan.ingress.translate.translator import Translator
from sampan.ingress.translate.types import Key, Objects, Options, Problem, Shadowed, Translation

__all__ = ["Key", "Objects", "Options", "Problem", "Shadowed", "Translation", "Translator", "translate"]


def translate(objects: Objects, settings: Settings, options: Options) -> Translation:
    """Everything from nothing. A controller keeps a Translator instead."""
    return Translator().translate(objects, settings, options)
