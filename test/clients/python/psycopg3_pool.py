"""psycopg 3: a pool that signs for each connection.

Runs every line of standard input on three connections at once, and prints what they answer.
"""
import sys
from concurrent.futures import ThreadPoolExecutor

from psycopg_pool import ConnectionPool
from wallet import account, password

# Called for every connection that the pool opens. Host, port and database come from the environment.
pool = ConnectionPool(kwargs=lambda: {"user": account.address, "password": password()},
                      min_size=0, max_size=3, open=True, check=ConnectionPool.check_connection)


def run(statement):
    with pool.connection() as conn:
        return conn.execute(statement).fetchone()[0]


with ThreadPoolExecutor(3) as threads:
    for line in sys.stdin:
        print(*threads.map(run, [line] * 3), flush=True)
pool.close()
