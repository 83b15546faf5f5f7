"""The HTTP server: `lorair-run serve`. What it promises: docs/serve.md.

settings.py   what is allowed and how long
work.py       a bounded queue and its workers
service.py    pictures in bytes through a `Restorer`
app.py        `create_app`: the paths
schema.py     what goes in and comes out, typed
places.py     how many pictures are held, and for whom
body.py       requests' bodies, read within limits
outcome.py    waiting for work, and answering
problems.py   errors as RFC 9457 problems
entry.py      who may ask: names, sites, the token
observe.py    around every request: log, metrics, headers
metrics.py    what Prometheus reads
page.py       the web page in static/
server.py     Uvicorn, signals, logs

`Service`, `WorkQueue` and `Settings` know nothing of HTTP and need no extra.
"""
