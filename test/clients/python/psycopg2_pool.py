"""psycopg2: a pool that signs for each connection.

Runs every line of standard input on three connections at once, and prints what they answer.
"""
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import psycopg2
from psycopg2.extensions import connection, make_dsn
from psycopg2.pool import ThreadedConnectionPool
from wallet import account, password


class WalletConnection(connection):
    """Made for every connection that the pool opens."""

    def __init__(self, dsn, *args, **kwargs):
        super().__init__(make_dsn(dsn, password=password()), *args, **kwargs)


# Host, port and database come from the environment.
pool = ThreadedConnectionPool(0, 3, user=account.address, connection_factory=WalletConnection)


@contextmanager
def borrow():
    """This pool does not look whether a connection still lives."""
    while True:
        conn = pool.getconn()
        try:
            conn.autocommit = True
            conn.cursor().execute("SELECT 1")
            break
        except psycopg2.Error:
            pool.putconn(conn, close=True)
    try:
        yield conn
    finally:
        pool.putconn(conn)


def run(statement):
    with borrow() as conn, conn.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchone()[0]


with ThreadPoolExecutor(3) as threads:
    for line in sys.stdin:
        print(*threads.map(run, [line] * 3), flush=True)
pool.closeall()
