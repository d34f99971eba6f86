# SPDX-FileCopyrightText: cwpd developers
# SPDX-License-Identifier: Apache-2.0
"""A headless browser for pages of reports: what it loads, says, and how what it shows can be read."""
import base64
import json
import shutil
import time

# For each text in sight: its colour against the grounds below it (WCAG 2.2, relative luminance).
CONTRAST = r"""
const lum = c => { const f = c.map(v => { v /= 255; return v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4; });
  return .2126 * f[0] + .7152 * f[1] + .0722 * f[2]; };
const parse = s => { const m = s.match(/[\d.]+/g).map(Number); return [m[0], m[1], m[2], m.length > 3 ? m[3] : 1]; };
const mix = (top, ground) => top.slice(0, 3).map((v, i) => v * top[3] + ground[i] * (1 - top[3]));
const ground = e => { const chain = []; for (let x = e; x; x = x.parentElement) chain.push(parse(getComputedStyle(x).backgroundColor));
  let c = matchMedia('(prefers-color-scheme: dark)').matches ? [0, 0, 0] : [255, 255, 255];
  while (chain.length) c = mix(chain.pop(), c); return c; };
const bad = []; let n = 0;
const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
for (let t = walk.nextNode(); t; t = walk.nextNode()) {
  const e = t.parentElement;
  if (!t.data.trim() || e.closest('title,desc,style') || !e.checkVisibility({visibilityProperty: true})) continue;
  const style = getComputedStyle(e), svg = e.closest('svg');
  const below = ground(svg ? svg.parentElement : e), c = mix(parse(svg ? style.fill : style.color), below);
  const a = lum(c), b = lum(below), ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
  n++;
  if (ratio < 4.5) bad.push(t.data.trim().slice(0, 40) + ' ' + ratio.toFixed(2));
}
return {n, bad};
"""
# Marks of pictures need 3 (WCAG 1.4.11).
MARKS = r"""
const lum = c => { const f = c.map(v => { v /= 255; return v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4; });
  return .2126 * f[0] + .7152 * f[1] + .0722 * f[2]; };
const parse = s => s.match(/[\d.]+/g).map(Number).slice(0, 3);
const below = lum(parse(getComputedStyle(document.body).backgroundColor)), bad = [];
for (const e of document.querySelectorAll('svg .o, svg .q, svg .p, svg .axis, svg .curve')) {
  const l = lum(parse(getComputedStyle(e).stroke)), ratio = (Math.max(l, below) + .05) / (Math.min(l, below) + .05);
  if (ratio < 3) bad.push(e.getAttribute('class') + ' ' + ratio.toFixed(2));
}
return bad;
"""


def missing():
    """What this machine lacks for a browser, or None."""
    for program in ("chromium", "chromedriver"):
        if not shutil.which(program):
            return program
    try:
        import selenium  # noqa: F401
    except ImportError:
        return "python3-selenium"
    return None


class Browser:
    def __init__(self, profile):
        from selenium import webdriver
        from selenium.webdriver.chrome.service import Service
        options = webdriver.ChromeOptions()
        options.binary_location = shutil.which("chromium")
        for word in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking",
                     "--disable-component-update", "--no-first-run", "--hide-scrollbars", "--force-device-scale-factor=1", "--user-data-dir=" + profile):
            options.add_argument(word)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        self.driver = webdriver.Chrome(service=Service(shutil.which("chromedriver")), options=options)
        self.driver.set_page_load_timeout(120)
        self.command("Network.enable")

    def command(self, name, **parameters):
        return self.driver.execute_cdp_cmd(name, parameters)

    def close(self):
        self.driver.quit()

    def look(self, scheme, width, height=900, media="screen"):
        """Colours and size of what follows."""
        self.command("Emulation.setEmulatedMedia", media=media, features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.command("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600)

    def open(self, path):
        self.driver.get_log("performance")
        self.driver.get_log("browser")
        self.driver.get("file://" + path)
        time.sleep(.1)

    def requests(self):
        """Addresses that were asked for since the page was opened."""
        events = [json.loads(e["message"])["message"] for e in self.driver.get_log("performance")]
        return [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]

    def said(self):
        """What came to the console."""
        return [e["message"] for e in self.driver.get_log("browser")]

    def script(self, text):
        return self.driver.execute_script(text)

    def press(self, key, times=1):
        for _ in range(times):
            for kind in ("keyDown", "keyUp"):
                self.command("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode={"Tab": 9, "Enter": 13}[key],
                             **({"text": "\r"} if key == "Enter" and kind == "keyDown" else {}))

    def picture(self, path, whole=True):
        data = self.command("Page.captureScreenshot", captureBeyondViewport=whole, format="png",
                            **({"clip": dict(self.script("return {x: 0, y: 0, width: innerWidth, height: Math.min(document.documentElement.scrollHeight, 16000), scale: 1}"))}
                               if whole else {}))["data"]
        with open(path, "wb") as f:
            f.write(base64.b64decode(data))
