"""Row 44: kill -9 at random moments; the soak run does it more often (test/system/harness/kills.py)."""
import pytest
from harness import env
from harness.kills import Kills
from harness.swift import Swift, missing


# Each kill is followed by a whole run, and the store needs some seconds to come back.
@pytest.mark.timeout(400 * env.SLOW)
@pytest.mark.parametrize("victim, times", [("daemon", 7), ("pg_dump", 7), ("store", 6)], ids=["daemon", "pg_dump", "store"])
def test_row_44_killed_at_random_moments(pg, scratch, databases, victim, times):
    if victim == "store" and missing():
        pytest.skip("OpenStack Swift is %s" % missing())
    database = databases.make()
    Kills.fill(pg, database)
    # One of its own: others would notice.
    server = None if missing() else Swift()
    try:
        kills = Kills(pg, scratch, database, server)
        try:
            kills.run(times, victims=[victim])
        finally:
            kills.close()
    finally:
        if server:
            server.close()
    assert kills.done[victim] == times and kills.cut > 0
