def test_smoke(pooler, pg):
    p = pooler(databases={"db": pg.entry()}, users={"u_trust": ""})
    with p.login() as c:
        assert c.value("SELECT 42") == "42"
    assert p.pool()["sv_idle"] >= 0
    assert p.show("VERSION")
