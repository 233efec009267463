"""The annotations of ingress-nginx: table.py lists them, parse.py reads them."""
