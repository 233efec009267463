"""The fifth article's manifests and images: `myblog`, which is a small web server here, and `mysql`, which greets.

The probes' delays are the article's, cut to a second where a test waits for them.
"""

from pathlib import Path

from support.images import docker_archive

REGISTRY = "10.2.2.10:5000"
TITLE = "我的博客列表"
GREETING = "5.7-mysql"
ADMIN = "admin of myblog"

SETTINGS = """
apiVersion: v1
kind: ConfigMap
metadata: {name: myblog, namespace: jds}
data: {MYSQL_HOST: 10.2.2.11, MYSQL_PORT: "3306"}
---
apiVersion: v1
kind: Secret
metadata: {name: myblog, namespace: jds}
stringData: {MYSQL_USER: root, MYSQL_PASSWD: "123456"}
"""

MYSQL = f"""
apiVersion: apps/v1
kind: Deployment
metadata:
  name: mysql
  namespace: jds
spec:
  replicas: 1
  selector:
    matchLabels:
      app: mysql
  template:
    metadata:
      labels:
        app: mysql
    spec:
      volumes:
      - name: mysql-data
        hostPath:
          path: /opt/mysql/data
      nodeSelector:
        component: mysql
      HOSTNETWORK
      containers:
      - name: mysql
        image: {REGISTRY}/mysql:5.7-utf8
        ports:
        - containerPort: 3306
        env:
        - name: MYSQL_USER
          valueFrom:
            secretKeyRef:
              name: myblog
              key: MYSQL_USER
        - name: MYSQL_ROOT_PASSWORD
          valueFrom:
            secretKeyRef:
              name: myblog
              key: MYSQL_PASSWD
        - name: MYSQL_DATABASE
          value: "myblog"
        resources:
          requests:
            memory: 100Mi
            cpu: 50m
          limits:
            memory: 500Mi
            cpu: 100m
        readinessProbe:
          tcpSocket:
            port: 3306
          initialDelaySeconds: 1
          periodSeconds: 1
        livenessProbe:
          tcpSocket:
            port: 3306
          initialDelaySeconds: 15
          periodSeconds: 20
        volumeMounts:
        - name: mysql-data
          mountPath: /var/lib/mysql
"""

MYBLOG = f"""
apiVersion: apps/v1
kind: Deployment
metadata:
  name: myblog
  namespace: jds
spec:
  replicas: 1
  selector:
    matchLabels:
      app: myblog
  template:
    metadata:
      labels:
        app: myblog
    spec:
      containers:
      - name: myblog
        image: {REGISTRY}/myblog:v1
        imagePullPolicy: IfNotPresent
        env:
        - name: MYSQL_HOST
          valueFrom:
            configMapKeyRef:
              name: myblog
              key: MYSQL_HOST
        - name: MYSQL_PORT
          valueFrom:
            configMapKeyRef:
              name: myblog
              key: MYSQL_PORT
        - name: MYSQL_USER
          valueFrom:
            secretKeyRef:
              name: myblog
              key: MYSQL_USER
        - name: MYSQL_PASSWD
          valueFrom:
            secretKeyRef:
              name: myblog
              key: MYSQL_PASSWD
        ports:
        - containerPort: 8002
        resources:
          requests:
            memory: 100Mi
            cpu: 50m
          limits:
            memory: 500Mi
            cpu: 100m
        livenessProbe:
          httpGet:
            path: /blog/index/
            port: 8002
            scheme: HTTP
          initialDelaySeconds: 10
          periodSeconds: 15
          timeoutSeconds: 2
        readinessProbe:
          httpGet:
            path: /blog/index/
            port: 8002
            scheme: HTTP
          initialDelaySeconds: 1
          timeoutSeconds: 2
          periodSeconds: 1
"""

INGRESS = """
apiVersion: extensions/v1beta1
kind: Ingress
metadata:
  name: myblog
  namespace: jds
spec:
  rules:
  - host: myblog.jds.com
    http:
      paths:
      - path: /
        backend:
          serviceName: myblog
          servicePort: 80
"""

INGRESS_TLS = (
    INGRESS.replace("name: myblog\n", "name: myblog-tls\n")
    + """\
  tls:
  - hosts:
    - myblog.jds.com
    secretName: https-secret
"""
)

INGRESS_PATHS = """
apiVersion: networking.k8s.io/v1beta1
kind: Ingress
metadata:
  name: simple-fanout-example
  namespace: jds
spec:
  rules:
  - host: myblog.jds.com
    http:
      paths:
      - path: /foo
        backend:
          serviceName: service1
          servicePort: 4200
      - path: /bar
        backend:
          serviceName: service2
          servicePort: 8080
      - path: /
        backend:
          serviceName: myblog
          servicePort: 80
---
apiVersion: networking.k8s.io/v1beta1
kind: Ingress
metadata:
  name: rewrite-path
  namespace: jds
  annotations:
    nginx.ingress.kubernetes.io/rewrite-target: /admin/$1
spec:
  rules:
  - host: myblog.jds.com
    http:
      paths:
      - path: /foo/(.*)
        backend:
          serviceName: myblog
          servicePort: 80
"""

CONTROLLER = (Path(__file__).parent / "articles" / "mandatory.yaml").read_text()

KINDS = """
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: agent}
spec:
  selector: {matchLabels: {app: agent}}
  template:
    metadata: {labels: {app: agent}}
    spec: {terminationGracePeriodSeconds: 1, containers: [{name: c, image: host, command: [sleep, infinity]}]}
---
apiVersion: batch/v1
kind: Job
metadata: {name: once}
spec:
  template:
    spec: {restartPolicy: Never, containers: [{name: c, image: host, command: ["true"]}]}
---
apiVersion: batch/v1beta1
kind: CronJob
metadata: {name: nightly}
spec:
  schedule: "0 3 * * *"
  jobTemplate:
    spec:
      template:
        spec: {restartPolicy: Never, containers: [{name: c, image: host, command: ["true"]}]}
"""


def service(name: str, port: int, target: int, app: str, kind: str = "ClusterIP") -> str:
    return f"""
apiVersion: v1
kind: Service
metadata:
  name: {name}
  namespace: jds
spec:
  ports:
  - port: {port}
    protocol: TCP
    targetPort: {target}
  selector:
    app: {app}
  type: {kind}
"""


def archives(folder: Path) -> list[Path]:
    """What `docker save` would have written of the article's images."""
    serve = "trap 'exit 0' TERM; httpd -f -p {} -h /www & wait"
    pages = {
        f"myblog:{version}": (8002, {"www/blog/index/index.html": title + "\n", "www/admin/users.html": ADMIN + "\n"})
        for version, title in (("v1", TITLE), ("v2", f"{TITLE} v2"))
    }
    pages["mysql:5.7-utf8"] = (3306, {"www/index.html": GREETING + "\n"})
    return [
        docker_archive(
            folder / f"{name.replace(':', '-')}.tar", f"{REGISTRY}/{name}", ("sh", "-c", serve.format(port)), files
        )
        for name, (port, files) in pages.items()
    ]
