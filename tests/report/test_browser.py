#!/usr/bin/env python3
# SPDX-FileCopyrightText: cwpd developers
# SPDX-License-Identifier: Apache-2.0
"""Pages of reports as a browser shows them: quiet, alone, readable in the dark and on a phone, usable by keyboard.

With CWP_SCREENSHOTS=DIR pictures of them land there."""
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import browser  # noqa: E402
import fixtures  # noqa: E402
import test_pages  # noqa: E402

DEBIAN = "/usr/bin/python3"
# What is looked at: in both schemes on both screens, or in one of each.
WHOLLY = ("accepted",)
LOOKED_AT = WHOLLY + ("rejected", "searched", "evil", "nulls", "crowded", "arabic-name", "sweep")
ANATOMY = """
const one = s => document.querySelectorAll(s).length;
return {main: one('main'), header: one('body > header'), footer: one('body > footer'), h1: one('h1'), lang: document.documentElement.lang,
  title: document.title, nameless: [...document.querySelectorAll('section, nav, [role=region]')].filter(e => {
    const by = e.getAttribute('aria-labelledby');
    return !(by ? document.getElementById(by).textContent.trim() : e.getAttribute('aria-label')); }).length};
"""
# The first elements that Tab reaches, as it goes.
FOCUSED = """
const e = document.activeElement, s = getComputedStyle(e);
return {name: e.tagName + (e.className && typeof e.className === 'string' ? '.' + e.className.split(' ')[0] : ''), text: e.textContent.slice(0, 40),
  top: e.getBoundingClientRect().top + scrollY, outline: s.outlineStyle !== 'none' && parseFloat(s.outlineWidth) >= 2,
  place: [...document.querySelectorAll('*')].indexOf(e)};
"""


class Browser(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp(prefix="cwp-browser-")
        cls.addClassCleanup(shutil.rmtree, cls.folder, ignore_errors=True)
        cls.pictures = os.environ.get("CWP_SCREENSHOTS")
        if cls.pictures:
            os.makedirs(cls.pictures, exist_ok=True)
        cls.shapes = fixtures.all_shapes()
        for name in LOOKED_AT:
            with open(cls.path(name), "wb") as f:
                f.write(test_pages.render(*cls.shapes[name]))
        cls.browser = browser.Browser(os.path.join(cls.folder, "profile"))
        cls.addClassCleanup(cls.browser.close)

    @classmethod
    def path(cls, name):
        return os.path.join(cls.folder, name + ".html")

    def check_landmarks(self):
        found = self.browser.script(ANATOMY)
        self.assertNotEqual(found.pop("title"), "")
        self.assertEqual(found, {"main": 1, "header": 1, "footer": 1, "h1": 1, "lang": "en", "nameless": 0})

    def test_looks(self):
        """No request but for the page, nothing on the console, contrast of 4.5, landmarks, nothing wider than the screen."""
        b = self.browser
        for name in LOOKED_AT:
            for scheme, width in (("light", 1280), ("dark", 360), ("dark", 1280), ("light", 360)):
                if name not in WHOLLY and (scheme, width) != (("light", 1280) if name in ("rejected", "sweep") else ("dark", 360)):
                    continue
                with self.subTest(name, scheme=scheme, width=width):
                    b.look(scheme, width)
                    b.open(self.path(name))
                    if name != "crowded":
                        b.script("document.querySelectorAll('details').forEach(d => d.open = true)")
                    self.assertEqual(b.script("return matchMedia('(prefers-color-scheme: dark)').matches"), scheme == "dark")
                    contrast = b.script(browser.CONTRAST)
                    self.assertEqual(contrast["bad"], [])
                    self.assertGreater(contrast["n"], 5)
                    self.assertEqual(b.script(browser.MARKS), [])
                    self.assertLessEqual(b.script("return document.documentElement.scrollWidth"), width)
                    self.assertEqual(b.script("return innerWidth"), width)
                    self.assertEqual(b.said(), [])
                    self.check_landmarks()
                    self.assertEqual([u for u in b.requests() if not u.startswith("data:")], ["file://" + self.path(name)])
                    if self.pictures:
                        b.picture(os.path.join(self.pictures, "%s-%s-%d.png" % (name, scheme, width)))

    def test_keyboard(self):
        """Tab goes through the page from its top to its end, is always seen, and opens what is folded."""
        b = self.browser
        b.look("light", 1280)
        b.open(self.path("accepted"))
        seen = []
        for _ in range(30):
            b.press("Tab")
            seen.append(b.script(FOCUSED))
        self.assertEqual(seen[0]["text"], "Skip to the result")
        self.assertEqual([s["place"] for s in seen], sorted({s["place"] for s in seen}))
        self.assertEqual([s for s in seen if not s["outline"]], [])
        self.assertIn("DIV.box", [s["name"] for s in seen])
        self.assertEqual(b.script("return document.querySelectorAll('details[open]').length"), 0)
        while not b.script("return document.activeElement.tagName") == "SUMMARY":
            b.press("Tab")
        b.press("Enter")
        self.assertEqual(b.script("return document.querySelectorAll('details[open]').length"), 1)
        b.script("document.querySelector('.skip').focus()")
        self.assertGreaterEqual(b.script("return document.querySelector('.skip').getBoundingClientRect().left"), 0)

    def test_harm_stays_folded(self):
        b = self.browser
        b.look("light", 1280)
        b.open(self.path("accepted"))
        b.script("document.querySelectorAll('details.evaluation').forEach(d => d.open = true)")
        inside = "return [...document.querySelectorAll('blockquote')].filter(e => e.checkVisibility()).map(e => e.textContent)"
        shown = b.script(inside)
        self.assertIn(fixtures.TURKISH, shown)
        self.assertNotIn(fixtures.ARABIC, shown)
        b.script("document.querySelectorAll('details.harmful').forEach(d => d.open = true)")
        self.assertIn(fixtures.ARABIC, b.script(inside))
        self.assertEqual(b.script("return [...document.querySelectorAll('blockquote[lang=ar]')].map(e => getComputedStyle(e).direction)"), ["rtl"])

    def test_paper(self):
        """On paper the page is light, has no navigation, and shows what is folded but for what may harm."""
        b = self.browser
        b.look("dark", 1280, media="print")
        b.open(self.path("accepted"))
        self.assertEqual(b.script("return getComputedStyle(document.body).backgroundColor"), "rgb(255, 255, 255)")
        self.assertFalse(b.script("return document.querySelector('nav').checkVisibility()"))
        shown = b.script("return [...document.querySelectorAll('tr.fold table, details.harmful blockquote')].map(e => [e.tagName,"
                         " e.checkVisibility({contentVisibilityAuto: true}) && e.getBoundingClientRect().height > 0])")
        self.assertTrue(all(seen == (tag == "TABLE") for tag, seen in shown) and len(shown) > 3, shown)


if __name__ == "__main__":
    if "san" in os.path.basename(os.environ.get("CWP_BUILDDIR", "")):
        print("skipped: the pages are the same in every build: once is enough")
        sys.exit(77)
    lacking = browser.missing()
    if lacking == "python3-selenium" and sys.executable != DEBIAN and os.path.exists(DEBIAN) and subprocess.run(
            [DEBIAN, "-c", "import selenium"], stderr=subprocess.DEVNULL, check=False).returncode == 0:
        os.execv(DEBIAN, [DEBIAN] + sys.argv)
    if lacking:
        print("skipped: no %s; scripts/packages --browser installs it" % lacking)
        sys.exit(77)
    unittest.main(verbosity=2)
