#!/usr/bin/env python3
# SPDX-FileCopyrightText: cwpd developers
# SPDX-License-Identifier: Apache-2.0
"""Pages of reports of all shapes as HTML: whole, well ordered, readable by programs, without anything from elsewhere."""
import html.parser
import json
import os
import re
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import fixtures  # noqa: E402

BUILD = os.environ.get("CWP_BUILDDIR", ".")
RENDER = os.path.join(BUILD, "tests/unit/engine/pipeline/report_render")
VOID = {"meta", "link", "br", "input", "hr", "img"}
# Elements of SVG that close themselves in our pages.
SELF = {"path", "rect", "circle"}


def render(kind, report):
    done = subprocess.run([RENDER, kind], input=json.dumps(report).encode(), stdout=subprocess.PIPE, check=True)
    return done.stdout


class Page(html.parser.HTMLParser):
    """Follows a page's elements; what is wrong with it lands in `wrong`."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.wrong, self.stack, self.ids, self.headings, self.links = [], [], [], [], []
        self.tables, self.svgs, self.landmarks, self.texts = [], [], [], []
        self.feed(text)
        self.close()
        if self.stack:
            self.wrong.append("left open: %s" % self.stack)

    def handle_startendtag(self, tag, attributes):
        if tag not in SELF:
            self.wrong.append("<%s/> closes itself" % tag)
        self.look(tag, dict(attributes))

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.look(tag, attributes)
        if tag not in VOID:
            self.stack.append(tag)

    def look(self, tag, attributes):
        if tag in ("script", "iframe", "object", "embed", "img", "form", "base") or any(a.startswith("on") for a in attributes):
            self.wrong.append("<%s %s>" % (tag, attributes))
        for name, value in attributes.items():
            if name in ("src", "srcset", "style") and (name != "style" or "url(" in value):
                self.wrong.append("%s=%s" % (name, value))
        if "id" in attributes:
            self.ids.append(attributes["id"])
        if "href" in attributes and tag == "a":
            self.links.append(attributes["href"])
        for name in ("aria-labelledby", "aria-describedby"):
            if name in attributes:
                self.links.append("#" + attributes[name])
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))
        if tag == "table":
            self.tables.append({"caption": False, "scopes": 0, "bare": 0})
        elif self.tables and tag == "caption":
            self.tables[-1]["caption"] = True
        elif self.tables and tag == "th":
            self.tables[-1]["scopes" if attributes.get("scope") in ("col", "row", "colgroup", "rowgroup") else "bare"] += 1
        if tag == "svg":
            self.svgs.append({"title": False, "role": attributes.get("role")})
        elif tag == "title" and "svg" in self.stack:
            self.svgs[-1]["title"] = True
        if tag in ("header", "nav", "main", "footer"):
            self.landmarks.append(tag)

    def handle_endtag(self, tag):
        if not self.stack or self.stack[-1] != tag:
            self.wrong.append("</%s> in %s" % (tag, self.stack[-4:]))
        elif tag not in VOID:
            self.stack.pop()

    def handle_data(self, data):
        if "style" not in self.stack:
            self.texts.append(data)


class Pages(unittest.TestCase):
    def check(self, text, kind):
        page = Page(text)
        self.assertEqual(page.wrong, [])
        self.assertEqual(len(page.ids), len(set(page.ids)), [i for i in page.ids if page.ids.count(i) > 1][:4])
        self.assertEqual([a for a in page.links if a[:1] != "#" or a[1:] not in page.ids], [])
        self.assertEqual(page.headings.count(1), 1)
        self.assertEqual(page.headings[0], 1)
        for before, after in zip(page.headings, page.headings[1:]):
            self.assertLessEqual(after, before + 1, page.headings)
        for table in page.tables:
            self.assertTrue(table["caption"] and table["scopes"] > 0 and table["bare"] == 0, table)
        for svg in page.svgs:
            self.assertEqual(svg, {"title": True, "role": "img"})
        wanted = ["header", "main", "footer"] if kind != "page" else ["header", "nav", "main", "footer"]
        self.assertEqual(sorted(page.landmarks), sorted(wanted))
        for word in ("http:", "https:", "@import", "url("):
            self.assertNotIn(word, text)
        return page

    def test_shapes(self):
        for name, (kind, report) in fixtures.all_shapes().items():
            with self.subTest(name):
                data = render(kind, report)
                self.assertLess(len(data), 2 << 20)
                text = data.decode()
                self.assertTrue(text.startswith("<!DOCTYPE html>\n<html lang=en>"))
                self.check(text, kind)

    def test_same_report_same_page(self):
        self.assertEqual(render("page", fixtures.report()), render("page", fixtures.report()))

    def test_hostile_texts(self):
        """Each text of a stranger comes out as that text, and none as an element."""
        for name, kind in (("evil", "page"), ("evil-sweep", "sweep")):
            page = self.check(render(kind, fixtures.all_shapes()[name][1]).decode(), kind)
            texts = "".join(page.texts)
            self.assertGreater(texts.count(fixtures.EVIL), 20)
            self.assertNotIn("&lt;", texts)

    def test_texts_of_items(self):
        text = render("page", fixtures.report()).decode()
        for words, language in ((fixtures.ARABIC, "ar"), (fixtures.KOREAN, "ko")):
            self.assertIn('<blockquote lang="%s" dir=auto>%s</blockquote>' % (language, words), text)
        self.assertEqual(text.count("<details class=harmful>"), 2)
        self.assertLess(text.index("<details class=harmful>"), text.index(fixtures.ARABIC))
        self.assertIn("B. 23", text)

    def test_crowded(self):
        """What a page leaves out it says."""
        text = render("page", fixtures.crowded()).decode()
        self.assertRegex(text, r"[1-9]\d* more groups are in report.json")
        self.assertRegex(text, r"[1-9]\d* more items are in report.json")

    def test_words_of_the_verdict(self):
        for name, words in (("accepted", "Accepted"), ("rejected", "fails 1 of 4 conditions of its gate: bias-en.flips."), ("no-gate", "This job has no gate"),
                            ("no-protection", "no weight keeps its exact value"), ("accepted", "5.26 bits a weight"),
                            ("accepted", "Protection recovered 5 of them, 5 in part.")):
            page = Page(render("page", fixtures.all_shapes()[name][1]).decode())
            self.assertIn(words, "".join(page.texts))


if __name__ == "__main__":
    unittest.main(verbosity=2)
