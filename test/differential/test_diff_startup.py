"""From the first byte to the greeting."""
import struct

from harness import wire
from play import Scenes

setups = {
    "plain": dict(auth_type="trust"),
    "template": dict(auth_type="trust", databases={"*": "host={host} port={port} user=u_trust"}),
    "defaults": dict(auth_type="trust", track_extra_parameters=None),
    "ignoring": dict(auth_type="trust", ignore_startup_parameters="extra_float_digits, geqo"),
    "ignoring-options": dict(auth_type="trust", ignore_startup_parameters="options"),
    "add-host": dict(auth_type="trust", application_name_add_host=1),
}
scenes = Scenes("startup", setups)


def test_startup(same):
    same()


# --- the first bytes ------------------------------------------------------------

FIRST = {
    "ssl-request": [wire.startup_packet(wire.SSL_REQUEST)],
    "gssenc-request": [wire.startup_packet(wire.GSSENC_REQUEST)],
    "ssl-then-gssenc": [wire.startup_packet(wire.SSL_REQUEST), wire.startup_packet(wire.GSSENC_REQUEST)],
    "gssenc-then-ssl": [wire.startup_packet(wire.GSSENC_REQUEST), wire.startup_packet(wire.SSL_REQUEST)],
    "ssl-twice": [wire.startup_packet(wire.SSL_REQUEST), wire.startup_packet(wire.SSL_REQUEST)],
}


@scenes(each={k: {"requests": v} for k, v in FIRST.items()})
def encryption_refused_then_login(d, requests):
    c = d.connect()
    for request in requests:
        c.send(request).byte()
    c.startup().answer("")
    c.query("SELECT 1")


@scenes(each={
    "ssl-request-with-body": {"data": wire.startup_packet(wire.SSL_REQUEST, b"abcd"), "shut": True},
    "version-2": {"data": wire.startup(user="u_trust", database="x", version=131072)},
    "version-1": {"data": wire.startup(user="u_trust", version=65536)},
    "version-4": {"data": wire.startup(user="u_trust", version=262144)},
    "version-0": {"data": wire.startup(user="u_trust", version=0)},
    "version-ffffffff": {"data": wire.startup(user="u_trust", version=0xffffffff)},
    "unknown-request": {"data": wire.startup_packet(80877105)},
    "length-0": {"data": struct.pack("!II", 0, wire.PROTO3)},
    "length-4": {"data": struct.pack("!II", 4, wire.PROTO3)},
    "length-7": {"data": struct.pack("!II", 7, wire.PROTO3)},
    "length-8": {"data": struct.pack("!II", 8, wire.PROTO3)},
    "length-65536": {"data": struct.pack("!II", 65536, wire.PROTO3) + b"x" * 40},
    "length-16777215": {"data": struct.pack("!II", 0xffffff, wire.PROTO3) + b"x" * 40},
    "http": {"data": b"GET / HTTP/1.0\r\n\r\n"},
    "zeros": {"data": b"\0" * 64},
    "ones": {"data": b"\xff" * 64},
    "tls-hello": {"data": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 40},
    "query-first": {"data": wire.query("SELECT 1")},
    "password-first": {"data": wire.password("secret")},
    "terminate-first": {"data": wire.TERMINATE},
    "sync-first": {"data": wire.SYNC},
    "unknown-message-first": {"data": wire.msg(b"z", b"abc")},
    "cancel-without-key": {"data": wire.startup_packet(wire.CANCEL_REQUEST)},
    "cancel-with-short-key": {"data": wire.startup_packet(wire.CANCEL_REQUEST, b"\0" * 7)},
    "cancel-with-unknown-key": {"data": wire.startup_packet(wire.CANCEL_REQUEST, b"\1" * 8)},
    "cancel-with-zero-key": {"data": wire.startup_packet(wire.CANCEL_REQUEST, b"\0" * 8)},
})
def first_bytes(d, data, shut=False):
    c = d.connect()
    c.send(data)
    if shut:
        c.shut()
    c.end()


@scenes(each={"1": {"cut": 1}, "4": {"cut": 4}, "7": {"cut": 7}})
def startup_in_two_pieces(d, cut):
    c = d.connect()
    data = wire.startup("u_trust", d.database)
    c.send(data[:cut]).nothing(0.05).send(data[cut:]).answer("")


@scenes()
def startup_cut_short(d):
    c = d.connect()
    c.send(wire.startup("u_trust", "db")[:20]).shut()
    c.end()


# --- the packet -----------------------------------------------------------------

def packet(*parts):
    return wire.startup_packet(wire.PROTO3, b"".join(parts))


LAYOUT = {
    "empty-body": packet(),
    "terminator-only": packet(b"\0"),
    "no-user": packet(b"database\0DB\0\0"),
    "empty-user": packet(b"user\0\0database\0DB\0\0"),
    "empty-user-and-database": packet(b"user\0\0database\0\0\0"),
    "no-terminator": packet(b"user\0u_trust\0database\0DB\0"),
    "name-without-nul": packet(b"user\0u_trust\0database"),
    "value-without-nul": packet(b"user\0u_trust\0database\0DB"),
    "name-without-value": packet(b"user\0u_trust\0database\0DB\0application_name\0\0"),
    "bytes-behind": packet(b"user\0u_trust\0database\0DB\0\0more"),
    "nul-behind": packet(b"user\0u_trust\0database\0DB\0\0\0"),
    "user-twice": packet(b"user\0nobody\0user\0u_trust\0database\0DB\0\0"),
    "database-twice": packet(b"user\0u_trust\0database\0nowhere\0database\0DB\0\0"),
    "database-first": packet(b"database\0DB\0user\0u_trust\0\0"),
    "upper-case-names": packet(b"USER\0u_trust\0DATABASE\0DB\0\0"),
    "upper-case-tracked": packet(b"user\0u_trust\0database\0DB\0APPLICATION_NAME\0x\0datestyle\0ISO\0\0"),
}


@scenes(each={k: {"data": v} for k, v in LAYOUT.items()})
def layout(d, data):
    body = data[8:].replace(b"\0DB", b"\0" + d.database.encode())
    c = d.connect()
    c.send(wire.startup_packet(wire.PROTO3, body), note="start-up " + repr(data[8:]))
    c.answer("")


@scenes(setup="template", entry=None, each={"absent": {"database": False}, "empty": {"database": ""}})
def no_database(d, database):
    """The user name is used."""
    c = d.connect()
    c.startup("db", database)
    c.answer("")


@scenes()
def startup_twice(d):
    c = d.connect()
    c.startup().answer("")
    c.startup()
    c.end()


@scenes()
def password_after_login(d):
    c = d.login()
    c.send(wire.password("late"))
    c.end()


@scenes(each={"63": {"size": 63}, "64": {"size": 64}, "127": {"size": 127}, "128": {"size": 128}, "200": {"size": 200}})
def long_user_name(d, size):
    c = d.connect()
    c.startup("u" * size)
    c.answer("")


@scenes(entry=None, setup="plain", each={"63": {"size": 63}, "64": {"size": 64}, "200": {"size": 200}})
def long_unknown_database(d, size):
    c = d.connect()
    c.startup(database="d" * size)
    c.answer("")


@scenes(setup="template", entry=None, each={"63": {"size": 63}, "64": {"size": 64}})
def long_database_of_the_template(d, size):
    c = d.connect()
    c.startup(database="d" * size)
    c.answer("")


@scenes(entry=None, each={"unknown": {"name": "nowhere"}, "odd": {"name": "no where; \"x'"}, "star": {"name": "*"},
                          "utf8": {"name": "d\u00e4tabase"}})
def unknown_database(d, name):
    c = d.connect()
    c.startup(database=name)
    c.answer("")


@scenes(setup="template", entry=None)
def database_that_the_server_lacks(d):
    c = d.connect()
    c.startup(database="nowhere")
    c.answer("")


# --- parameters -----------------------------------------------------------------

PARAMETERS = {
    "none": {},
    "application-name": {"application_name": "an app"},
    "empty-application-name": {"application_name": ""},
    "long-application-name": {"application_name": "a" * 100},
    "odd-application-name": {"application_name": "it's \"a\" \\ b"},
    "encoding": {"client_encoding": "LATIN1"},
    "encoding-quoted": {"client_encoding": "'utf-8'"},
    "encoding-unknown": {"client_encoding": "nonsense"},
    "datestyle": {"DateStyle": "German"},
    "datestyle-lower-case": {"datestyle": "ISO, DMY"},
    "timezone": {"TimeZone": "Europe/Berlin"},
    "timezone-unknown": {"TimeZone": "Moon/Crater"},
    "strings": {"standard_conforming_strings": "off"},
    "all-tracked": {"application_name": "x", "client_encoding": "UTF8", "DateStyle": "SQL", "TimeZone": "GMT",
                    "standard_conforming_strings": "on"},
    "unknown": {"search_path": "public"},
    "unknown-to-everybody": {"no_such_thing": "1"},
    "extra-float-digits": {"extra_float_digits": "3"},
    "intervalstyle": {"IntervalStyle": "iso_8601"},
    "replication-off": {"replication": "off"},
    "replication-nonsense": {"replication": "perhaps"},
}


@scenes(each={k: {"params": v} for k, v in PARAMETERS.items()})
def parameter(d, params):
    c = d.connect()
    c.startup(**params)
    c.answer("")
    c.query("SELECT current_setting('application_name'), current_setting('client_encoding'),"
            " current_setting('datestyle'), current_setting('timezone')")


@scenes(setup="defaults")
def interval_style_is_tracked(d):
    c = d.connect()
    c.startup(IntervalStyle="iso_8601")
    c.answer("")


@scenes(setup="ignoring", each={
    "first": {"params": {"extra_float_digits": "3"}},
    "second": {"params": {"geqo": "off"}},
    "both": {"params": {"geqo": "off", "extra_float_digits": "3"}},
    "upper-case": {"params": {"GEQO": "off"}},
    "another": {"params": {"geq": "off"}},
    "options": {"params": {"options": "-c geqo=off"}},
})
def ignored_parameter(d, params):
    c = d.connect()
    c.startup(**params)
    c.answer("")
    c.query("SHOW geqo")


OPTIONS = {
    "c": "-c geqo=off",
    "c-joined": "-cgeqo=off",
    "long": "--geqo=off",
    "tracked": "-c DateStyle=German",
    "two": "-c geqo=off -c DateStyle=German",
    "blank-in-value": "-c application_name=a\\ b",
    "other-option": "-f b",
    "no-value": "-c geqo",
    "empty": "",
    "only-c": "-c",
    "word": "nonsense",
}


@scenes(each={k: {"text": v} for k, v in OPTIONS.items()})
def options(d, text):
    c = d.connect()
    c.startup(options=text)
    c.answer("")


@scenes(setup="ignoring-options", each={k: {"text": v} for k, v in OPTIONS.items()})
def options_ignored(d, text):
    c = d.connect()
    c.startup(options=text)
    c.answer("")
    c.query("SHOW geqo")


@scenes(each={"3.1": {"version": 196609}, "3.65535": {"version": 262143}})
def minor_version(d, version):
    c = d.connect()
    c.startup(version=version)
    c.answer("")


@scenes()
def protocol_option(d):
    c = d.connect()
    c.startup(**{"_pq_.something": "1"})
    c.answer("")


@scenes(setup="add-host", each={"named": {"params": {"application_name": "app"}}, "unnamed": {"params": {}},
                                "empty": {"params": {"application_name": ""}}})
def application_name_with_host(d, params):
    c = d.connect()
    d.hide(str(c.wire.sock.getsockname()[1]), "<client port>")
    c.startup(**params)
    c.answer("")
    c.query("SHOW application_name")


@scenes()
def greeting_in_order(d):
    c = d.connect()
    c.startup(TimeZone="UTC", application_name="x")
    c.answer("", in_order=True)


@scenes()
def second_login_has_the_cached_greeting(d):
    d.login(tell=True, application_name="first")
    d.login(tell=True, DateStyle="German")


@scenes(each={"encoding": {"entry": {"client_encoding": "LATIN1"}}, "datestyle": {"entry": {"datestyle": "German"}},
              "timezone": {"entry": {"timezone": "Asia/Tokyo"}},
              "connect-query": {"entry": {"connect_query": "SET application_name TO connected"}},
              "bad-connect-query": {"entry": {"connect_query": "SELECT 1/0"}}})
def database_with(d):
    c = d.login(tell=True)
    c.query("SELECT current_setting('application_name'), current_setting('client_encoding'),"
            " current_setting('datestyle'), current_setting('timezone')")


@scenes()
def unix_socket(d):
    c = d.connect(d.pooler.dir)
    c.send(wire.startup_packet(wire.SSL_REQUEST)).byte()
    c.startup().answer("")
    c.query("SELECT 1")
    c.leave()


@scenes(each={"nothing": {"data": b""}, "one-byte": {"data": b"\0"}, "half": {"data": wire.startup("u_trust")[:12]}})
def leaves_early(d, data):
    c = d.connect()
    c.send(data, note="%d bytes" % len(data))
    c.vanish()
    d.login().query("SELECT 1")
