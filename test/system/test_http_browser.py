"""The pages, in headless Chromium; the wallet is a provider of ours (EIP-1193) whose signatures are made here."""
import os
import shlex
import subprocess
import time

import pytest
from harness import env
from harness.wallet import ALICE

webdriver = pytest.importorskip("selenium.webdriver", reason="python3-selenium is not installed")
from selenium.webdriver.chrome.service import Service  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402

pytestmark = pytest.mark.ours

FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage"]

# request() is answered by the test: it reads window.asked and calls window.reply.
PROVIDER = """
window.asked = [];
window.ethereum = {
	on() {},
	request(r) {
		return new Promise((resolve, reject) => window.asked.push({ method: r.method, params: r.params, resolve, reject }));
	}
};
window.reply = (i, ok, value) => ok ? window.asked[i].resolve(value) : window.asked[i].reject(value);
"""


@pytest.fixture
def browser():
    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    home = env.make_dir(prefix="browser-")
    for flag in FLAGS + ["--user-data-dir=" + home]:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(service=Service("/usr/bin/chromedriver", log_path=os.devnull), options=options)
    yield driver
    driver.quit()


@pytest.fixture
def served(pooler, pg):
    def make(**settings):
        port = env.free_port()
        p = pooler(**{**dict(databases={"db": pg.entry(user="svc", password="svc_pw", pool_mode="transaction")}, users={"u_trust": ""},
                             http_listen="127.0.0.1:%d" % port), **settings})
        p.http = port
        return p
    return make


def text_of(driver, element):
    return driver.find_element(By.ID, element).text


def complaints(driver):
    return [e["message"] for e in driver.get_log("browser") if "favicon" not in e["message"] and "backup.json" not in e["message"]]


def picture(driver, name, width, height):
    """Kept for a person to look at, where PICTURES says so."""
    driver.set_window_size(width, height)
    if os.environ.get("PICTURES"):
        driver.save_screenshot(os.path.join(os.environ["PICTURES"], name + ".png"))


def fits(driver):
    return driver.execute_script("return document.documentElement.scrollWidth <= document.documentElement.clientWidth")


def test_status_page_shows_what_happens(served, browser):
    status = os.path.join(env.make_dir(), "status.json")
    now = time.time()
    env.write(status, '{"last_success": %d, "object": "app/20260101_000000.backup.enc2", "consecutive_failures": 0, '
                      '"interval_seconds": 86400, "verified": {"level": "archive", "at": %d, "result": "ok"}}' % (now - 600, now - 300))
    p = served(http_backup_status=status)
    with p.login("u_trust") as c:
        for _ in range(50):
            c.query("SELECT 1")
        browser.get("http://127.0.0.1:%d/" % p.http)
        env.wait_for(lambda: text_of(browser, "state") == "active", "the page to be filled")
        assert "db svc 1 " in text_of(browser, "pools") and "cl_waiting" in text_of(browser, "pools")
        assert "trust" in text_of(browser, "logins")
        env.wait_for(lambda: "last success" in text_of(browser, "backup"), "the backup's status")
        assert "10 min ago" in text_of(browser, "backup") and "archive" in text_of(browser, "backup")
        assert browser.execute_script("return document.querySelectorAll('#query rect').length") == 19
        # Rates come from the second look on.
        env.wait_for(lambda: "/s" in text_of(browser, "numbers"), "rates")
        picture(browser, "status", 1100, 900)
        picture(browser, "status-phone", 390, 1400)
        assert fits(browser)
        assert not complaints(browser)
    # A name cannot become a part of the page.
    assert browser.execute_script("return document.querySelectorAll('script').length") == 1
    env.write(status, '{"last_success": %d, "consecutive_failures": 3, "last_error": "<b>no</b>"}' % (now - 90000))
    browser.refresh()
    env.wait_for(lambda: "3 failures in a row: <b>no</b>" in text_of(browser, "backup"), "the failure")
    os.unlink(status)
    browser.refresh()
    env.wait_for(lambda: text_of(browser, "backup") == "unknown", "the missing status")
    p.admin("PAUSE")
    env.wait_for(lambda: text_of(browser, "state") == "paused", "the pause to be seen")
    p.admin("RESUME")


def test_status_page_of_a_pooler_that_is_gone(served, browser):
    p = served()
    browser.get("http://127.0.0.1:%d/" % p.http)
    env.wait_for(lambda: text_of(browser, "state") == "active", "the page to be filled")
    p.expected_exit = 0
    p.signal(3)
    p.wait_exit()
    env.wait_for(lambda: text_of(browser, "state") == "no answer" and "last seen" in text_of(browser, "age"), "the page to say so")


def answer(driver, index, method, value=None, error=None):
    env.wait_for(lambda: driver.execute_script("return window.asked.length") > index, "the page to ask the wallet")
    asked = driver.execute_script("const a = window.asked[arguments[0]]; return [a.method, a.params || []]", index)
    assert asked[0] == method
    if error:
        driver.execute_script("window.reply(arguments[0], false, arguments[1])", index, error)
    else:
        driver.execute_script("window.reply(arguments[0], true, arguments[1])", index, value(asked[1]))


def open_with_wallet(driver, port):
    driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": PROVIDER})
    driver.get("http://127.0.0.1:%d/connect" % port)


def sign_by_page(driver, wallet, database, index=1):
    signed = []

    def sign(params):
        assert params[1] == wallet.lower and params[0].startswith("0x")
        signed.append(bytes.fromhex(params[0][2:]))
        return wallet.sign(signed[0])
    box = driver.find_element(By.ID, "database")
    box.clear()
    box.send_keys(database)
    driver.find_element(By.ID, "sign").click()
    answer(driver, index, "personal_sign", sign)
    env.wait_for(lambda: driver.find_element(By.ID, "result").is_displayed(), "the result")
    assert driver.find_element(By.ID, "message").get_property("textContent") == signed[0].decode()
    return signed[0].decode()


def test_a_wallet_signs_and_its_psql_line_works(served, browser):
    p = served(auth_type="ecdsa", ecdsa_allowed_addresses=ALICE.address, ecdsa_require_tls="never")
    open_with_wallet(browser, p.http)
    picture(browser, "connect-empty", 390, 800)
    browser.find_element(By.ID, "connect").click()
    answer(browser, 0, "eth_requestAccounts", lambda params: [ALICE.lower])
    env.wait_for(lambda: browser.find_element(By.ID, "details").is_displayed(), "the second step")
    assert browser.find_element(By.ID, "wallet").get_property("value") == ALICE.address
    sign_by_page(browser, ALICE, "db")
    picture(browser, "connect", 390, 1300)
    assert fits(browser)
    line = browser.find_element(By.ID, "psql").get_property("textContent")
    assert line.startswith("PGPASSWORD=") and " psql " in line
    done = subprocess.run(["sh", "-c", line + " -Atc 'SELECT current_user'"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, env={"PATH": os.environ["PATH"], "HOME": env.make_dir(), "PGCONNECT_TIMEOUT": "20"})
    assert done.stdout == "svc\n", line
    uri = browser.find_element(By.ID, "uri").get_property("textContent")
    done = subprocess.run(["psql", uri, "-Atc", "SELECT 7"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.stdout == "7\n", uri
    assert not complaints(browser)


def test_a_wallet_that_refuses_and_one_that_is_not_there(served, browser):
    p = served(auth_type="ecdsa", ecdsa_allowed_addresses=ALICE.address)
    browser.get("http://127.0.0.1:%d/connect" % p.http)
    browser.find_element(By.ID, "connect").click()
    env.wait_for(lambda: "There is no wallet in this browser" in text_of(browser, "problem"), "the reason")
    open_with_wallet(browser, p.http)
    browser.find_element(By.ID, "connect").click()
    answer(browser, 0, "eth_requestAccounts", error={"code": 4001, "message": "User rejected the request."})
    env.wait_for(lambda: text_of(browser, "problem") == "The wallet refused.", "the reason")


def test_a_shell_does_not_run_what_somebody_typed(served, browser):
    p = served(auth_type="ecdsa", ecdsa_allowed_addresses=ALICE.address)
    open_with_wallet(browser, p.http)
    browser.find_element(By.ID, "connect").click()
    answer(browser, 0, "eth_requestAccounts", lambda params: [ALICE.address])
    env.wait_for(lambda: browser.find_element(By.ID, "details").is_displayed(), "the second step")
    odd = "a'b\\c $(x) \"y\" `z`"
    sign_by_page(browser, ALICE, odd)
    words = shlex.split(browser.find_element(By.ID, "psql").get_property("textContent"))
    assert words[1] == "psql" and len(words) == 3
    from psycopg.conninfo import conninfo_to_dict
    assert conninfo_to_dict(words[2])["dbname"] == odd
    assert conninfo_to_dict(browser.find_element(By.ID, "uri").get_property("textContent"))["dbname"] == odd
