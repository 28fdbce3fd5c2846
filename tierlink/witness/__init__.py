"""A witness of transparency logs (C2SP tlog-witness), for whoever wants to keep a log honest.

It holds of each log that it follows the newest checkpoint, cosigns the next one only where that
is proved to extend it, and keeps what a log signed that cannot both be true. It needs no database:
a folder, a key, and the keys of the logs.
"""
