"""Where each attack row is tested.

The rows are those of HACKING.md, "Attacks". A test belongs to a row when its
name or the id of one of its cases has `row_NN` or `row-NN`; a row of a unit
test says `attack NN`.

     1, 2    test_attacks_login, test_login, test/unit/test_auth.c, test/fuzz/fuzz_scram.c
     3       test_attacks_login (both sides of the login), test_login, test_server_login (from a server), test_pooling
     4, 5    test_attacks_login, test_login
     6, 7    test_attacks_login, test_login
     8       test_attacks_login (trickle), test_login (crowds)
     9       test_attacks_login, test_login
    10-12    test_auth_query, test_auth_query_faults, test_wallet_query
    13       test_attacks_login, test_auth_query, test_reboot_midway, test_reboot_foreign, test/unit/test_auth.c
    14       test_attacks_login (by the source), test/unit/test_auth.c
    15       test_attacks_login, test_login, test_wallet_login, test/unit/test_auth.c
    16-19    test_attacks_tls, test_tls, test_login, test_server_login
    20-24    test_server_login, test_tls
    25       test_console_rights, test_fds, test_suspend
    26       test_login, test_fds, test_reboot, test_wallet_login, test_wallet_identity
    27       test_wallet_identity
    28       test_login, test_pooling, test_server_login, test_wallet_login
    29-35    test_attacks_protocol, test_protocol, test_cancel, test_prepared, test_pooling
    36       test_wallet_login, test_wallet_formats, test_wallet_replay, test_reboot_foreign, test/unit/test_replay.c
    37, 38   test_wallet_formats, test_wallet_login, test/unit/test_wallet.c, test/unit/test_formats.c
    39       test_limit
    40       test_wallet_formats, test_wallet_query, test/unit/test_hba.c
    41       test_wallet_clock
    42       test_backup_faults, test_backup_whole
    43       test_backup, test_backup_children
    44       test_backup, test_backup_kills
    45       test_backup, test_backup_files
    46       test_backup, test_backup_s3, test_backup_stores, test_backup_commands
    47       test_backup_restore, test_backup_children
"""
import glob
import os
import re

import pytest

ROWS = range(1, 48)
HERE = os.path.dirname(os.path.abspath(__file__))


def names_by_row():
    """{row: names}, read from the sources: collecting would start nothing, but takes seconds."""
    rows = {}
    for path in sorted(glob.glob(os.path.join(HERE, "test_*.py"))):
        with open(path) as f:
            text = f.read()
        for name, row in re.findall(r'^def (test_row_(\d+)_\w+)\(', text, re.M) \
                + re.findall(r'id="(row-(\d+)-[\w-]+)"', text):
            rows.setdefault(int(row), set()).add("%s::%s" % (os.path.basename(path), name))
    return rows


@pytest.mark.parametrize("row", ROWS)
def test_every_row_has_its_tests(row):
    found = names_by_row().get(row, set())
    assert found, "no test says row_%d or row-%d" % (row, row)
    # What stands in the list above is there.
    line = [text for text in __doc__.splitlines()
            if (m := re.match(r"\s+(\d+)(?:([-,] ?)(\d+))?\s+test_", text))
            and (row in (int(m.group(1)), int(m.group(3) or 0))
                 or (m.group(2) == "-" and int(m.group(1)) <= row <= int(m.group(3))))]
    assert len(line) == 1, line
    listed = set(re.findall(r"\btest_\w+", re.sub(r"test/(unit|fuzz)/\w+\.c", "", line[0])))
    for module in {name.split(".py::")[0] for name in found}:
        assert module in listed or module == "test_attacks", (row, module)


def test_names_are_of_rows_that_exist():
    assert all(1 <= row <= 47 for row in names_by_row())
