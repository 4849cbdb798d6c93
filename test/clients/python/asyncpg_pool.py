"""asyncpg: a pool that signs for each connection.

Runs every line of standard input on three connections at once, and prints what they answer.
"""
import asyncio
import sys

import asyncpg
from wallet import account, password


async def main():
    # password() is called for every connection that the pool opens. Host, port and database come from the environment.
    async with asyncpg.create_pool(user=account.address, password=password, min_size=0, max_size=3) as pool:
        while line := await asyncio.to_thread(sys.stdin.readline):
            print(*await asyncio.gather(*[pool.fetchval(line) for _ in range(3)]), flush=True)

asyncio.run(main())
