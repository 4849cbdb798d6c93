"""Where a client sees something else than with PgBouncer 1.18, and why that is wanted.

known_differences: {scene: [Known(why, their lines, our lines), ...]}. A test
fails when a listed difference is not there, so that this list stays true.
"""
from collections import namedtuple

Known = namedtuple("Known", "why theirs ours")
known_differences = {}


def differs(why, scenes, theirs, ours):
    """These lines of the oracle's transcript are those in ours."""
    for scene in scenes.split() if isinstance(scenes, str) else scenes:
        known_differences.setdefault(scene, []).append(Known(why, tuple(theirs), tuple(ours)))


# --- the list: sections are those of the behaviour specification --------------

SSLREQ = ("1.18 takes an SSLRequest wherever a start-up packet may stand, and what follows it for the next "
          "message; now bytes behind it, or a request in the middle of a log-in, end the connection (section "
          "3).")
PIECES = ("1.18 wants a start-up packet in one piece once eight bytes of it are there; now it is put "
          "together, at any size of pkt_buf (sections 2 and 35, since 1.25), and what is no start-up packet "
          "is closed like any other message that does not belong there.")
STRICT = ("1.18 lacks the stricter reading of start-up packets: terminator, nothing behind it (section 35, "
          "since 1.25).")
LONGDB = "1.18 cuts the name of a database after 63 bytes and complains of a name nobody has asked for."
SQLSTATE = ("1.18 tells every failed log-in at the server as 08P01; now the client gets the SQLSTATE of the "
            "server (section 35, since 1.20).")
REPLICATION = ("1.18 lacks replication connections; now the parameter is known, and words that ask for none "
               "are dropped (section 35, since 1.23).")
EXTRA = "1.18 lacks track_extra_parameters (section 35, since 1.20)."
OPTIONS = ("1.18 lacks the start-up parameter options; when it is ignored there, it is ignored whole, and "
           "tracked parameters in it, too (section 35, since 1.20).")
NEGOTIATE = "1.18 lacks protocol negotiation (section 35, since 1.23)."
ORDER = "DateStyle comes before client_encoding now (sections 8 and 18)."
EMPTYSCRAM = ("1.18 lets a user without password in by SCRAM with an empty one; now an empty password never "
              "matches (section 6).")
MD5SCRAM = ("1.18 ends the dialogue early if the user has an MD5 secret, so strangers can tell who has one; "
            "here it fails at the end, as for unknown users.")
VERSION = "The version that it says it is."
CONSOLEAUTH = ("1.18 refuses who is neither admin nor stats user before he has proven himself; now after it, "
               "so that names cannot be probed (console section 1).")
LATECANCEL = ("1.18 takes a CancelRequest from a client in the middle of its log-in; it is one only as the "
              "first message of a connection.")
MALFORMED = ("1.18 overlooks what is wrong with the message: it waits for more, reads only the first of two "
             "strings, or takes an empty nonce, which RFC 5802 forbids. A malformed message costs its sender "
             "the connection.")
NOHBA = "1.18 calls it a rejection when no HBA line fits; now it has words of its own (section 6)."
RENAMED = "Column reserve_pool is reserve_pool_size now (section 35, since 1.24)."
DEFAULTS = ("Other defaults: TLS ciphers (since 1.21), check query (since 1.25), server_tls_sslmode (since "
            "1.20), see section 35.")
IDLESTATE = "1.18 lacks the client state idle (section 35, since 1.25)."
ENABLE = "1.18 says disable where it means enable."
RELOAD = "1.18 says that all is well when a RELOAD has failed (section 35, since 1.25)."
BEHIND = ("1.18 runs the next command while the first still waits, and then answers a PAUSE as WAIT_CLOSE. "
          "Here commands of one client take turns.")
EXTENDED = "1.18 lacks the extended protocol on the console; a superset here (console section 3)."
BUFFERED = ("1.18 has dropped what stood in its buffer before the message that ends the connection; here it "
            "has been sent on. Which of both a client of 1.18 sees depends on how the network has cut the "
            "stream.")
EMPTYAPP = ("1.18 takes an empty application_name as none, so the client sees that of who had the server "
            "before (section 35, since 1.22).")
PREPARED = ("1.18 lacks prepared statements in transaction mode: here named statements are tracked, a name "
            "nobody knows ends the connection, and so does a Parse that cannot be read (section 20; section "
            "35, since 1.21).")
NULLTEXT = "1.18 prints a missing text as (null)."
LONGTEXT = "1.18 cuts the text of a server after 127 bytes."
STARTINGUP = ("1.18 ends waiting clients also when the server says that it is starting up (57P03); now they "
              "wait on (section 35, since 1.21).")
FASTFAIL = ("1.18 tells the server's refusal only to clients that still wait for the greeting; now to all who "
            "wait, if the pool has no server left (section 14; section 35, since 1.22).")
AMID = "In the middle of a message an error would be taken for the rest of its body: nothing is said then."
CACHED = "1.18 does not say why log-ins at the server have been failing (section 35, since 1.24)."

differs(SSLREQ, "auth/odd-answer:md5-ssl-request auth/odd-answer:plain-ssl-request",
        ["c1 END inside b'N'"],
        ['c1 E S=FATAL C=08P01 M=client re-sent startup pkt', 'c1 END'])
differs(SSLREQ, "startup/first-bytes:ssl-request-with-body",
        ["c1 END inside b'N'"],
        ["c1 E S=FATAL C=08P01 M=bad packet header: '0000000c04d2162f'", 'c1 END'])

differs(PIECES, "startup/first-bytes:http startup/first-bytes:tls-hello",
        ['c1 E S=FATAL C=08P01 M=client sent partial pkt in startup phase'],
        [])
differs(PIECES, "startup/startup-cut-short",
        ['c1 E S=FATAL C=08P01 M=client sent partial pkt in startup phase'], [])

differs(STRICT, "startup/first-bytes:length-8 startup/layout:empty-body",
        ['c1 E S=FATAL C=08P01 M=no username supplied'],
        ['c1 E S=FATAL C=08P01 M=invalid startup packet layout: expected terminator as last byte'])
differs(STRICT,
        "startup/layout:bytes-behind startup/layout:name-without-value startup/layout:no-terminator "
        "startup/layout:nul-behind",
        ['c1 R ok', 'c1 S (the others as the server says)', 'c1 K <key of 8 bytes>', 'c1 Z I'],
        ['c1 E S=FATAL C=08P01 M=invalid startup packet layout: expected terminator as last byte', 'c1 END'])
differs(STRICT, "startup/layout:name-without-nul startup/layout:value-without-nul",
        ['c1 E S=FATAL C=08P01 M=no such database: u_trust'],
        ['c1 E S=FATAL C=08P01 M=invalid startup packet layout: expected terminator as last byte'])

differs(LONGDB, "startup/long-database-of-the-template:64 startup/long-unknown-database:64",
        ['c1 E S=FATAL C=08P01 M=no such database: ddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd'],
        ['c1 E S=FATAL C=08P01 M=no such database: dddddddddddddddddddddddddddddddddddddddddddddddddddddddddd'
         'dddddd'])
differs(LONGDB, "startup/long-unknown-database:200",
        ['c1 E S=FATAL C=08P01 M=no such database: ddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd'],
        ['c1 E S=FATAL C=08P01 M=no such database: dddddddddddddddddddddddddddddddddddddddddddddddddddddddddd'
         'dddddddddddddddddddddd'])
differs(LONGDB, "startup/long-database-of-the-template:63",
        ['c1 E S=FATAL C=08P01 M=database "ddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd" d'
         'oes not exist'],
        ['c1 E S=FATAL C=3D000 M=database "ddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd" d'
         'oes not exist'])

differs(SQLSTATE,
        "auth/without-forced-user:md5 auth/without-forced-user:plain auth/without-forced-user:scram-sha-256 "
        "auth/without-forced-user:trust",
        ['c2 E S=FATAL C=08P01 M=password authentication failed for user "nobody_pg"'],
        ['c2 E S=FATAL C=28P01 M=password authentication failed for user "nobody_pg"'])
differs(SQLSTATE, "server/refused-by-postgres:no_database",
        ['c1 E S=FATAL C=08P01 M=database "no_such_database" does not exist'],
        ['c1 E S=FATAL C=3D000 M=database "no_such_database" does not exist'])
differs(SQLSTATE, "server/refused-by-postgres:no_role",
        ['c1 E S=FATAL C=08P01 M=password authentication failed for user "no_such_role"'],
        ['c1 E S=FATAL C=28P01 M=password authentication failed for user "no_such_role"'])
differs(SQLSTATE, "server/refused-by-postgres:no_password server/refused-by-postgres:wrong_password",
        ['c1 E S=FATAL C=08P01 M=password authentication failed for user "svc"'],
        ['c1 E S=FATAL C=28P01 M=password authentication failed for user "svc"'])
differs(SQLSTATE, "server/server-password:hash-as-u_plain server/server-password:wrong-as-u_plain",
        ['c1 E S=FATAL C=08P01 M=password authentication failed for user "u_plain"'],
        ['c1 E S=FATAL C=28P01 M=password authentication failed for user "u_plain"'])
differs(SQLSTATE, "server/server-password:wrong-as-u_md5",
        ['c1 E S=FATAL C=08P01 M=password authentication failed for user "u_md5"'],
        ['c1 E S=FATAL C=28P01 M=password authentication failed for user "u_md5"'])
differs(SQLSTATE, "server/server-password:wrong-as-u_scram",
        ['c1 E S=FATAL C=08P01 M=password authentication failed for user "u_scram"'],
        ['c1 E S=FATAL C=28P01 M=password authentication failed for user "u_scram"'])
differs(SQLSTATE, "server/server-password:nothing-as-u_cert",
        ['c1 E S=FATAL C=08P01 M=password authentication failed for user "u_cert"'],
        ['c1 E S=FATAL C=28P01 M=password authentication failed for user "u_cert"'])
differs(SQLSTATE, "server/refused-by-a-strange-server:error",
        ['c1 E S=FATAL C=08P01 M=no room here'],
        ['c1 E S=FATAL C=53300 M=no room here'])
differs(SQLSTATE, "server/refused-by-a-strange-server:error-severity-error",
        ['c1 E S=FATAL C=08P01 M=just an error'],
        ['c1 E S=FATAL C=28000 M=just an error'])
differs(SQLSTATE, "server/refused-by-a-strange-server:error-with-detail",
        ['c1 E S=FATAL C=08P01 M=text'],
        ['c1 E S=FATAL C=28P01 M=text'])
differs(SQLSTATE, "server/refused-by-a-strange-server:error-utf8",
        ['c1 E S=FATAL C=08P01 M=kein Platz für dich'],
        ['c1 E S=FATAL C=53300 M=kein Platz für dich'])
differs(SQLSTATE, "server/refused-by-a-strange-server:error-after-auth",
        ['c1 E S=FATAL C=08P01 M=too late'],
        ['c1 E S=FATAL C=53300 M=too late'])
differs(SQLSTATE, "server/refused-by-a-strange-server:error-after-parameters",
        ['c1 E S=FATAL C=08P01 M=later'],
        ['c1 E S=FATAL C=42501 M=later'])
differs(SQLSTATE, "server/refused-by-a-strange-server:notice-then-error",
        ['c1 E S=FATAL C=08P01 M=told you'],
        ['c1 E S=FATAL C=53300 M=told you'])
differs(SQLSTATE, "startup/database-that-the-server-lacks",
        ['c1 E S=FATAL C=08P01 M=database "nowhere" does not exist'],
        ['c1 E S=FATAL C=3D000 M=database "nowhere" does not exist'])

differs(REPLICATION, "startup/parameter:replication-nonsense startup/parameter:replication-off",
        ['c1 E S=FATAL C=08P01 M=unsupported startup parameter: replication', 'c1 END'],
        ['c1 R ok', 'c1 S (the others as the server says)', 'c1 K <key of 8 bytes>', 'c1 Z I'])
differs(REPLICATION, "startup/parameter:replication-nonsense startup/parameter:replication-off",
        [],
        ['c1 T current_setting:25/-1/-1/0, current_setting:25/-1/-1/0, current_setting:25/-1/-1/0, current_se'
         'tting:25/-1/-1/0',
         'c1 D  | UTF8 | ISO, MDY | Etc/UTC',
         'c1 C SELECT 1',
         'c1 Z I'])

differs(EXTRA, "startup/interval-style-is-tracked",
        ['c1 E S=FATAL C=08P01 M=unsupported startup parameter: IntervalStyle', 'c1 END'],
        ['c1 R ok',
         'c1 S IntervalStyle=iso_8601',
         'c1 S (the others as the server says)',
         'c1 K <key of 8 bytes>',
         'c1 Z I'])

differs(OPTIONS, "startup/ignored-parameter:options startup/options:empty",
        ['c1 E S=FATAL C=08P01 M=unsupported startup parameter: options', 'c1 END'],
        ['c1 R ok', 'c1 S (the others as the server says)', 'c1 K <key of 8 bytes>', 'c1 Z I'])
differs(OPTIONS, "startup/ignored-parameter:options", [], ['c1 T geqo:25/-1/-1/0', 'c1 D on', 'c1 C SHOW', 'c1 Z I'])
differs(OPTIONS, "startup/options:c startup/options:c-joined startup/options:long startup/options:two",
        ['c1 E S=FATAL C=08P01 M=unsupported startup parameter: options'],
        ['c1 E S=FATAL C=08P01 M=unsupported startup parameter in options: geqo'])
differs(OPTIONS, "startup/options:tracked",
        ['c1 E S=FATAL C=08P01 M=unsupported startup parameter: options', 'c1 END'],
        ['c1 R ok',
         'c1 S DateStyle=German',
         'c1 S (the others as the server says)',
         'c1 K <key of 8 bytes>',
         'c1 Z I'])
differs(OPTIONS, "startup/options:blank-in-value",
        ['c1 E S=FATAL C=08P01 M=unsupported startup parameter: options', 'c1 END'],
        ['c1 R ok',
         'c1 S application_name=a b',
         'c1 S (the others as the server says)',
         'c1 K <key of 8 bytes>',
         'c1 Z I'])
differs(OPTIONS, "startup/options:no-value startup/options:only-c startup/options:other-option startup/options:word",
        ['c1 E S=FATAL C=08P01 M=unsupported startup parameter: options'],
        ["c1 E S=FATAL C=08P01 M=unsupported options startup parameter: only '-c config=val' and '--config=va"
         "l' are allowed"])
differs(OPTIONS, "startup/options-ignored:tracked startup/options-ignored:two", [], ['c1 S DateStyle=German'])
differs(OPTIONS, "startup/options-ignored:blank-in-value", [], ['c1 S application_name=a b'])

differs(NEGOTIATE, "startup/minor-version:3.1", [], ['c1 v \\x00\\x03\\x00\\x00\\x00\\x00\\x00\\x00'])
differs(NEGOTIATE, "startup/minor-version:3.65535",
        ["c1 E S=FATAL C=08P01 M=bad packet header: '0000003d0003ffff'", 'c1 END'],
        ['c1 v \\x00\\x03\\x00\\x00\\x00\\x00\\x00\\x00',
         'c1 R ok',
         'c1 S (the others as the server says)',
         'c1 K <key of 8 bytes>',
         'c1 Z I'])
differs(NEGOTIATE, "startup/protocol-option",
        ['c1 E S=FATAL C=08P01 M=unsupported startup parameter: _pq_.something', 'c1 END'],
        ['c1 v \\x00\\x03\\x00\\x00\\x00\\x00\\x00\\x01_pq_.something\\x00',
         'c1 R ok',
         'c1 S (the others as the server says)',
         'c1 K <key of 8 bytes>',
         'c1 Z I'])

differs(ORDER, "server/parameters-at-the-server:all",
        ["c1 D database=db user=u_trust / SET client_encoding='LATIN1';SET DateStyle='SQL';SET TimeZone='GMT'"
         ";SET standard_conforming_strings='off';SET application_name='x';"],
        ["c1 D database=db user=u_trust / SET DateStyle='SQL';SET client_encoding='LATIN1';SET TimeZone='GMT'"
         ";SET standard_conforming_strings='off';SET application_name='x';"])
differs(ORDER, "server/parameters-at-the-server:all",
        ["c2 D database=db user=u_trust / SET client_encoding='LATIN1';SET DateStyle='SQL';SET TimeZone='GMT'"
         ";SET standard_conforming_strings='off';SET application_name='x'; /...(172)"],
        ["c2 D database=db user=u_trust / SET DateStyle='SQL';SET client_encoding='LATIN1';SET TimeZone='GMT'"
         ";SET standard_conforming_strings='off';SET application_name='x'; /...(172)"])
differs(ORDER, "startup/greeting-in-order", [], ['c1 S DateStyle=ISO, MDY'])
differs(ORDER, "startup/greeting-in-order", ['c1 S DateStyle=ISO, MDY'], [])


differs(EMPTYSCRAM, "auth/scram-sha-256:empty-right auth/without-forced-user:scram-sha-256",
        ['c1 R sasl-final v=<32 bytes>',
         'c1 R ok',
         'c1 S (the others as the server says)',
         'c1 K <key of 8 bytes>',
         'c1 Z I',
         'c1 > Query SELECT current_user',
         'c1 T current_user:19/64/-1/0',
         'c1 D u_trust',
         'c1 C SELECT 1',
         'c1 Z I'],
        ['c1 E S=FATAL C=08P01 M=SASL authentication failed', 'c1 END'])

differs(MD5SCRAM,
        "auth/scram-sha-256:md5-empty auth/scram-sha-256:md5-right auth/scram-sha-256:md5-wrong "
        "auth/the-hash-itself-as-password:scram-sha-256",
        [],
        ['c1 R sasl-continue nonce continued, salt of 16 bytes, i=4096', 'c1 > SCRAM final'])
differs(MD5SCRAM, "auth/console-login:scram-sha-256",
        [],
        ['c3 R sasl SCRAM-SHA-256',
         'c3 > SCRAM first',
         'c3 R sasl-continue nonce continued, salt of 16 bytes, i=4096',
         'c3 > SCRAM final',
         'c3 R sasl-final v=<32 bytes>'])

differs(VERSION,
        "auth/console-login:any auth/console-login:md5 auth/console-login:plain auth/console-login:scram-sha-256 "
        "auth/console-login:trust console/greeting:encoding console/greeting:none console/greeting:tracked "
        "console/own-user-on-the-unix-socket",
        ['c1 S server_version=1.18.0/bouncer'],
        ['c1 S server_version=1.25.2/bouncer'])
differs(VERSION,
        "auth/console-login:any auth/console-login:md5 auth/console-login:plain auth/console-login:scram-sha-256 "
        "auth/console-login:trust",
        ['c2 S server_version=1.18.0/bouncer'],
        ['c2 S server_version=1.25.2/bouncer'])
differs(VERSION, "auth/console-login:any",
        ['c3 S server_version=1.18.0/bouncer'],
        ['c3 S server_version=1.25.2/bouncer'])
differs(VERSION, "auth/console-login:any auth/console-login:trust",
        ['c4 S server_version=1.18.0/bouncer'],
        ['c4 S server_version=1.25.2/bouncer'])
differs(VERSION, "auth/console-login:any",
        ['c5 S server_version=1.18.0/bouncer'],
        ['c5 S server_version=1.25.2/bouncer'])
differs(VERSION, "auth/console-login:any",
        ['c6 S server_version=1.18.0/bouncer'],
        ['c6 S server_version=1.25.2/bouncer'])

differs(CONSOLEAUTH, "auth/console-login:plain", [], ['c3 R password', 'c3 > password'])
differs(CONSOLEAUTH, "auth/console-login:plain",
        ['c6 E S=FATAL C=08P01 M=not allowed'],
        ['c6 R password', 'c6 > password', 'c6 E S=FATAL C=08P01 M=empty password returned by client'])
differs(CONSOLEAUTH, "auth/console-login:md5", [], ['c3 R md5 <salt of 4 bytes>', 'c3 > md5 password'])
differs(CONSOLEAUTH, "auth/console-login:md5",
        ['c6 E S=FATAL C=08P01 M=not allowed'],
        ['c6 R md5 <salt of 4 bytes>', 'c6 > md5 password', 'c6 E S=FATAL C=08P01 M=password authentication failed'])
differs(CONSOLEAUTH, "auth/console-login:scram-sha-256",
        ['c6 E S=FATAL C=08P01 M=not allowed'],
        ['c6 R sasl SCRAM-SHA-256',
         'c6 > SCRAM first',
         'c6 R sasl-continue nonce continued, salt of 16 bytes, i=4096',
         'c6 > SCRAM final',
         'c6 E S=FATAL C=08P01 M=SASL authentication failed'])

differs(LATECANCEL, "auth/odd-answer:md5-cancel auth/odd-answer:plain-cancel",
        [],
        ['c1 E S=FATAL C=08P01 M=client re-sent startup pkt'])

differs(MALFORMED,
        "auth/odd-answer:md5-empty-body auth/odd-answer:md5-no-nul auth/odd-answer:plain-empty-body "
        "auth/odd-answer:plain-no-nul auth/odd-answer:plain-nul-behind auth/odd-answer:plain-two-strings",
        [],
        ['c1 E S=FATAL C=08P01 M=password authentication failed'])
differs(MALFORMED, "console/message:bytes-behind",
        ['c1 T timezone:25/-1/-1/0', 'c1 D GMT', 'c1 C SHOW', 'c1 Z I'],
        ['c1 E S=FATAL C=08P01 M=bad packet'])
differs(MALFORMED, "auth/scram-first:empty-nonce",
        ['c1 R sasl-continue nonce WRONG, salt of 16 bytes, i=4096'],
        ['c1 E S=FATAL C=08P01 M=SASL authentication failed'])
differs(MALFORMED, "auth/scram-first:empty-message auth/scram-first:no-nul auth/scram-first:too-large-size",
        [],
        ['c1 E S=FATAL C=08P01 M=SASL authentication failed'])

differs(FASTFAIL, "auth/auth-query-whose-user-cannot-log-in",
        ['c1 E S=FATAL C=08P01 M=query_wait_timeout'],
        ['c1 E S=FATAL C=28P01 M=password authentication failed for user "nobody_pg"'])

differs(NOHBA, "auth/hba:odd-right auth/hba:short_md5-right auth/hba:broken_md5-right auth/hba:nobody-right",
        ['c1 E S=FATAL C=08P01 M=login rejected'],
        ['c1 E S=FATAL C=08P01 M=no authentication method is found'])
differs(NOHBA, "auth/hba-and-the-console",
        ['c5 E S=FATAL C=08P01 M=login rejected'],
        ['c5 E S=FATAL C=08P01 M=no authentication method is found'])
differs(VERSION, "auth/hba-and-the-console",
        ['c1 S server_version=1.18.0/bouncer'], ['c1 S server_version=1.25.2/bouncer'])
differs(VERSION, "auth/hba-and-the-console",
        ['c3 S server_version=1.18.0/bouncer'], ['c3 S server_version=1.25.2/bouncer'])
differs(CONSOLEAUTH, "auth/hba-and-the-console", [], ['c4 R password', 'c4 > password'])

differs(RENAMED, "console/columns-of-show:DATABASES", ['c2 has reserve_pool: 23/4/-1'], [])
differs(RENAMED, "console/show-by-a-stats-user:DATABASES", ['c1 has reserve_pool: 23/4/-1'], [])

differs(DEFAULTS, "console/show-config",
        ['c1 has client_tls_ciphers: fast, default fast, yes'],
        ['c1 has client_tls_ciphers: default, default default, yes'])
differs(DEFAULTS, "console/show-config",
        ['c1 has server_check_query: select 1, default select 1, yes'],
        ['c1 has server_check_query: <empty>, default <empty>, yes'])
differs(DEFAULTS, "console/show-config",
        ['c1 has server_tls_ciphers: fast, default fast, yes'],
        ['c1 has server_tls_ciphers: default, default default, yes'])
differs(DEFAULTS, "console/show-config",
        ['c1 has server_tls_sslmode: disable, default disable, yes'],
        ['c1 has server_tls_sslmode: disable, default prefer, yes'])

differs(IDLESTATE, "console/show-clients-and-servers:session console/show-clients-and-servers:transaction",
        ['c4 idle, CLIENTS: type=C user=u_trust state=active addr=127.0.0.1 local_addr=127.0.0.1 close_needed'
         '=0 tls= alone',
         'c4 idle, CLIENTS: type=C user=u_trust state=active addr=127.0.0.1 local_addr=127.0.0.1 close_needed'
         '=0 tls= alone',
         'c4 idle, CLIENTS: type=C user=u_trust state=active addr=127.0.0.1 local_addr=127.0.0.1 close_needed'
         '=0 tls= alone'],
        ['c4 idle, CLIENTS: type=C user=u_trust state=idle addr=127.0.0.1 local_addr=127.0.0.1 close_needed=0'
         ' tls= alone',
         'c4 idle, CLIENTS: type=C user=u_trust state=idle addr=127.0.0.1 local_addr=127.0.0.1 close_needed=0'
         ' tls= alone',
         'c4 idle, CLIENTS: type=C user=u_trust state=idle addr=127.0.0.1 local_addr=127.0.0.1 close_needed=0'
         ' tls= alone'])
differs(IDLESTATE, "console/show-clients-and-servers:session console/show-clients-and-servers:transaction",
        ['c4 busy, CLIENTS: type=C user=u_trust state=active addr=127.0.0.1 local_addr=127.0.0.1 close_needed'
         '=0 tls= alone'],
        [])
differs(IDLESTATE, "console/show-clients-and-servers:session console/show-clients-and-servers:transaction",
        [],
        ['c4 busy, CLIENTS: type=C user=u_trust state=idle addr=127.0.0.1 local_addr=127.0.0.1 close_needed=0'
         ' tls= alone'])

differs(ENABLE, "console/grammar:ENABLE-pgbouncer-16",
        ['c1 E S=ERROR C=08P01 M=cannot disable admin db: pgbouncer'],
        ['c1 E S=ERROR C=08P01 M=cannot enable admin db: pgbouncer'])

differs(RELOAD, "console/reload-with-a-bad-file",
        ['c1 C RELOAD'],
        ['c1 E S=ERROR C=F0000 M=RELOAD failed, see logs for additional details'])

differs(BEHIND, "console/a-command-behind-one-that-waits", [], ['c2 C PAUSE', 'c2 Z I'])
differs(BEHIND, "console/a-command-behind-one-that-waits", ['c2 C WAIT_CLOSE', 'c2 Z I'], [])

differs(EXTENDED, "console/message:parse",
        ['c1 E S=ERROR C=08P01 M=extended query protocol not supported by admin console',
         'c1 Z I',
         'c1 E S=FATAL C=08P01 M=bad packet'],
        ['c1 1'])
differs(EXTENDED, "console/message:bind",
        ['c1 E S=ERROR C=08P01 M=extended query protocol not supported by admin console',
         'c1 Z I',
         'c1 E S=FATAL C=08P01 M=bad packet'],
        ['c1 E S=ERROR C=08P01 M=prepared statement does not exist'])
differs(EXTENDED, "console/message:execute",
        ['c1 E S=ERROR C=08P01 M=extended query protocol not supported by admin console',
         'c1 Z I',
         'c1 E S=FATAL C=08P01 M=bad packet'],
        ['c1 E S=ERROR C=08P01 M=portal does not exist'])
differs(EXTENDED, "console/message:describe",
        ['c1 E S=ERROR C=08P01 M=unsupported packet type for admin console: 68',
         'c1 Z I',
         'c1 E S=FATAL C=08P01 M=bad packet'],
        ['c1 E S=ERROR C=08P01 M=prepared statement does not exist'])
differs(EXTENDED, "console/message:close",
        ['c1 E S=ERROR C=08P01 M=unsupported packet type for admin console: 67',
         'c1 Z I',
         'c1 E S=FATAL C=08P01 M=bad packet'],
        ['c1 3'])
differs(EXTENDED, "console/message:sync",
        ['c1 E S=ERROR C=08P01 M=unsupported packet type for admin console: 83'],
        [])
differs(EXTENDED, "console/message:batch-with-parameter console/message:sync console/message:whole-batch",
        ['c1 E S=FATAL C=08P01 M=bad packet'],
        [])
differs(EXTENDED, "console/message:flush",
        ['c1 E S=ERROR C=08P01 M=unsupported packet type for admin console: 72',
         'c1 Z I',
         'c1 E S=FATAL C=08P01 M=bad packet'],
        [])
differs(EXTENDED, "console/message:whole-batch",
        ['c1 E S=ERROR C=08P01 M=extended query protocol not supported by admin console'],
        ['c1 1', 'c1 2', 'c1 T timezone:25/-1/-1/0', 'c1 D GMT', 'c1 C SHOW'])
differs(EXTENDED, "console/message:batch-with-parameter",
        ['c1 E S=ERROR C=08P01 M=extended query protocol not supported by admin console'],
        ["c1 E S=ERROR C=08P01 M=invalid command 'SHOW $1', use SHOW HELP;"])

differs(BUFFERED, "pooling/transaction:statement", [], ['c1 C BEGIN'])
differs(BUFFERED, "pooling/statement-mode-refuses:statement",
        [],
        ['c1 T ?column?:23/4/-1/0',
         'c1 D 1',
         'c1 C SELECT 1',
         'c1 C BEGIN',
         'c1 T ?column?:23/4/-1/0',
         'c1 D 2',
         'c1 C SELECT 1'])
differs(BUFFERED, "pooling/statement-mode-refuses:statement", [], ['c3 1', 'c3 2', 'c3 n', 'c3 C BEGIN'])
differs(BUFFERED, "pooling/max-packet-size-of-a-server", [], ['c1 T repeat:25/-1/-1/0'])
differs(BUFFERED,
        "server/server-fails-in-a-query:half-a-header:session "
        "server/server-fails-in-a-query:half-a-header:transaction",
        [],
        ['c1 T a:25/-1/-1/0'])
differs(BUFFERED, "server/server-fails-in-a-query:bad-length:session "
        "server/server-fails-in-a-query:bad-length:transaction",
        [],
        ['c1 C SELECT'])

differs(EMPTYAPP, "pooling/tracked-parameter:application_name:statement "
        "pooling/tracked-parameter:application_name:transaction",
        ["c2 D it's me"],
        ['c2 D '])
differs(EMPTYAPP, "pooling/parameters-that-the-server-refuses:transaction", ["c6 D x\\'; SELECT 1; --"], ['c6 D '])
differs(EMPTYAPP, "pooling/parameters-that-the-server-refuses:transaction", ["c7 D x\\'; SELECT 1; --"], ['c7 D '])

differs(PREPARED, "pooling/batch:malformed-parse:statement pooling/batch:malformed-parse:transaction",
        ['c1 E S=ERROR V=ERROR C=08P01 M=invalid string in message F=pqformat.c L=<line> R=pq_getmsgstring',
         'c1 Z I',
         "c1 > Query SELECT 'after'",
         'c1 T ?column?:25/-1/-1/0',
         'c1 D after',
         'c1 C SELECT 1',
         'c1 Z I'],
        ['c1 E S=FATAL C=08P01 M=broken Parse packet', 'c1 END'])
differs(PREPARED, "pooling/named-statement-oddities:transaction",
        ['c1 E S=ERROR V=ERROR C=26000 M=prepared statement "nowhere" does not exist F=prepare.c L=<line> R=F'
         'etchPreparedStatement',
         'c1 Z I'],
        ['c1 E S=FATAL C=08P01 M=prepared statement did not exist', 'c1 END'])
differs(PREPARED, "pooling/named-statement-oddities:transaction", ['c1 END'], [])
differs(PREPARED, "pooling/named-statement-oddities:transaction",
        ['c2 E S=ERROR V=ERROR C=26000 M=prepared statement "nowhere" does not exist F=prepare.c L=<line> R=F'
         'etchPreparedStatement',
         'c2 Z I'],
        ['c2 E S=FATAL C=08P01 M=prepared statement did not exist', 'c2 END'])
differs(PREPARED, "pooling/named-statement-oddities:transaction", ['c2 END'], [])

differs(NULLTEXT, "server/refused-by-a-strange-server:error-without-text",
        ['c1 E S=FATAL C=08P01 M=(null)'],
        ['c1 E S=FATAL C=53300 M=server login failed'])
differs(NULLTEXT, "server/refused-by-a-strange-server:error-of-nothing",
        ['c1 E S=FATAL C=08P01 M=(null)'],
        ['c1 E S=FATAL C=08P01 M=server login failed'])

differs(LONGTEXT, "server/refused-by-a-strange-server:error-long",
        ['c1 E S=FATAL C=08P01 M=xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx'
         'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx'],
        ['c1 E S=FATAL C=53300 M=xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx'
         'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx'
         'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx'
         'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx'
         'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx'
         'xxxxxxxxxxxxxxxxxxxxxxxxxxxx'])

differs(STARTINGUP, "server/a-server-that-does-not-log-in:starting-up",
        ['c1 E S=FATAL C=08P01 M=starting up'],
        ['c1 E S=FATAL C=08P01 M=query_wait_timeout'])

differs(FASTFAIL, "server/fast-fail-after-a-refused-login",
        ['c1 E S=FATAL C=08P01 M=query_wait_timeout'],
        ['c1 E S=FATAL C=53300 M=only one'])

differs(CACHED, "server/fast-fail-after-a-refused-login",
        ['c2 E S=FATAL C=08P01 M=server login has been failing, try again later (server_login_retry)'],
        ['c2 E S=FATAL C=08P01 M=server login has been failing, cached error: only one (server_login_retry)'])
differs(CACHED, "server/fast-fail-after-a-refused-login",
        ['c3 E S=FATAL C=08P01 M=server login has been failing, try again later (server_login_retry)'],
        ['c3 E S=FATAL C=08P01 M=server login has been failing, cached error: only one (server_login_retry)'])
differs(CACHED, "server/fast-fail-after-a-lost-connection",
        ['c2 E S=FATAL C=08P01 M=server login has been failing, try again later (server_login_retry)'],
        ['c2 E S=FATAL C=08P01 M=server login has been failing, cached error: server conn crashed? (server_lo'
         'gin_retry)'])
differs(CACHED, "server/fast-fail-when-nobody-listens",
        ['c2 E S=FATAL C=08P01 M=server login has been failing, try again later (server_login_retry)'],
        ['c2 E S=FATAL C=08P01 M=server login has been failing, cached error: connect failed (server_login_retry)'])

for mode in ("session", "transaction"):
    differs(AMID, "server/server-fails-in-a-query:half-a-row:" + mode,
            ['c1 D \x00\x00)SF', "c1 END inside b'C08P01\\x00Mserver conn crashed?\\x00\\x00'"],
            ["c1 END inside b'\\x00\\x01\\x00\\x00'"])
