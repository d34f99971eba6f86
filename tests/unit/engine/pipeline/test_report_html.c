/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The report's page: names from outside are text and nothing else, and a report without numbers is a page too. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/pipeline/report.h"

#define EVIL "<script>alert(1)</script>&\\\"'<img src=x>"

static char *page(const char *text)
{
	json_error_t at;
	json_t *report = json_loads(text, 0, &at);
	char *html = NULL;
	size_t length = 0;
	if (report == NULL) {
		fail_msg("%s", at.text);
	}
	assert_int_equal(cwe_report_html(report, &html, &length), 0);
	assert_int_equal(strlen(html), length);
	assert_non_null(strstr(html, "</html>"));
	json_decref(report);
	return html;
}

static void test_escaping(void **state)
{
	(void)state;
	char *html = page("{\"job\":{\"name\":\"" EVIL "\",\"model\":\"" EVIL "\",\"adapter\":[\"" EVIL "\"],\"output\":\"" EVIL "\"},\"backend\":\"" EVIL "\","
		"\"stages\":[{\"name\":\"" EVIL "\",\"seconds\":1,\"peak_memory_bytes\":1}],\"bounds\":{\"memory\":1,\"scratch\":1},"
		"\"protection\":{\"weights\":10,\"protected\":1,\"sets\":[{\"name\":\"" EVIL "\",\"role\":\"" EVIL "\"}],"
		"\"scoring\":{\"plugin\":\"" EVIL "\",\"combine\":\"" EVIL "\",\"utility\":\"" EVIL "\",\"beta\":1},"
		"\"unseen_experts\":[\"" EVIL "\"],\"top_modules\":[{\"module\":\"" EVIL "\",\"weights\":10,\"protected\":1,\"share\":0.1}],"
		"\"per_module\":{\"model.layers.0." EVIL "\":1}},\"size\":{\"bits_per_weight\":4},"
		"\"evaluation\":[{\"name\":\"" EVIL "\",\"benchmark\":\"" EVIL "\",\"metric\":\"" EVIL "\",\"n\":1,"
		"\"original\":{\"value\":1,\"low\":0,\"high\":2}}],"
		"\"gate\":[{\"metric\":\"" EVIL "\",\"condition\":\"" EVIL "\",\"than\":\"" EVIL "\",\"passed\":false}],\"rejected\":true,"
		"\"warnings\":[\"" EVIL "\"]}");
	assert_null(strstr(html, "<script"));
	assert_null(strstr(html, "<img"));
	assert_non_null(strstr(html, "&lt;script&gt;alert(1)&lt;/script&gt;&amp;&quot;"));
	assert_non_null(strstr(html, "</code> + <code>&lt;script&gt;"));
	assert_non_null(strstr(html, "fails 1 of 1 condition of its gate: &lt;script&gt;"));
	assert_non_null(strstr(html, "<li>&lt;script&gt;"));
	free(html);
}

/* How often a text is in another. */
static int times(const char *html, const char *text)
{
	int n = 0;
	for (const char *at = strstr(html, text); at != NULL; at = strstr(at + 1, text)) {
		n++;
	}
	return n;
}

/* Two metrics with the same flips: one row where their items are the same, two where they may be others. */
static void test_equal_flips(void **state)
{
	(void)state;
#define FLIPPING(metric) "{\"name\":\"xs\",\"metric\":\"" metric "\",\"n\":3,\"flips\":{\"quantized\":{\"n\":3,\"count\":1,\"up\":1,\"down\":0,\"p\":1}," \
	"\"protected\":null}}"
#define REPORT(n) "{\"evaluation\":[" FLIPPING("refused") "," FLIPPING("over") ",{\"name\":\"xs\",\"metric\":\"flips\",\"n\":" n "}]}"
	char *html = page(REPORT("3"));
	const char *row = "<tr><th scope=row>xs<br><span class=ci>over</span></th><td class=n><span class=v>1</span>";
	assert_int_equal(times(html, row), 0);
	free(html);
	html = page(REPORT("6"));
	assert_int_equal(times(html, row), 1);
	free(html);
}

static void test_empty(void **state)
{
	(void)state;
	free(page("{}"));
	free(page("{\"job\":{},\"stages\":[{}],\"evaluation\":[{}],\"gate\":[{}],\"warnings\":[{}],\"protection\":{\"sets\":[{}],\"per_module\":{}}}"));
}

static void want_all(const char *html, const char *const *want, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (strstr(html, want[i]) == NULL) {
			fail_msg("the page lacks: %s", want[i]);
		}
	}
}

#define WANT(html, ...) \
	do { \
		static const char *const all[] = {__VA_ARGS__}; \
		want_all(html, all, sizeof all / sizeof *all); \
	} while (0)

static void test_map(void **state)
{
	(void)state;
	char *html = page("{\"protection\":{\"weights\":1000,\"protected\":30,\"map\":{\"layers\":3,\"kinds\":[{\"kind\":\"mlp.<up>\",\"weights\":[100,100,0],"
		"\"protected\":[10,0,7]},{\"kind\":\"mlp.experts.*.up_proj\",\"weights\":[2000,4000,\"x\"],\"protected\":[20,1000]}]}}}");
	WANT(html, "layer 0: 10 of 100 (10.00 %)", "layer 1: 0 of 100 (0.00 %)", "layer 1: 1,000 of 4,000 (25.00 %)", "mlp.&lt;up&gt;",
		"mlp.experts.*.up_proj", "id=weights ", "href='#weights'");
	assert_null(strstr(html, "layer 2:")); /* no weights there, no cell */
	assert_null(strstr(html, "http:"));
	assert_null(strstr(html, "https:"));
	free(html);
	html = page("{\"protection\":{\"map\":{\"layers\":-1,\"kinds\":[{}]}}}");
	assert_null(strstr(html, "id=weights "));
	free(html);
	/* More layers than any model has: what is drawn ends somewhere. */
	html = page("{\"protection\":{\"map\":{\"layers\":9000000000,\"kinds\":[{\"kind\":\"a\",\"weights\":[5],\"protected\":[1]}]}}}");
	WANT(html, "layer 0: 1 of 5 (20.00 %)");
	free(html);
}

#define MEASURE(v) "{\"value\":" #v ",\"low\":0.25,\"high\":0.75,\"standard_error\":0.1}"
#define ROW(name, group, language, verdict) \
	"{\"name\":\"" name "\",\"benchmark\":\"b\",\"metric\":\"m.x\",\"group\":" group ",\"language\":\"" language "\",\"direction\":1,\"n\":41," \
	"\"excluded\":17,\"too_long\":{\"count\":2,\"items\":[\"i<1>\",\"i2\"]},\"original\":" MEASURE(0.5) ",\"quantized\":" MEASURE(0.3125) \
	",\"protected\":" MEASURE(0.4375) ",\"change\":{\"quantized\":{\"value\":-0.1875},\"protected\":null},\"recovery\":{\"value\":0.8125," \
	"\"low\":0.5,\"high\":1,\"verdict\":\"" verdict "\"},\"flips\":{\"quantized\":{\"n\":41,\"count\":10,\"up\":2,\"down\":8,\"p\":0.0001}," \
	"\"protected\":{\"n\":41,\"count\":3,\"up\":1,\"down\":2,\"p\":1}}}"

static void test_results(void **state)
{
	(void)state;
	char *html = page("{\"evaluation\":[" ROW("one", "null", "fr", "recovered") "," ROW("one", "\"a<b\"", "fr", "cannot tell") ","
		ROW("two", "null", "nl", "worse") "," ROW("one!", "null", "zz", "cannot tell") "]}");
	WANT(html, ">0.3125</span>", "0.25 to 0.75", "change -0.188", ">81&nbsp;%</span>", "50 to 100&nbsp;%", "class='ok'>recovered", "class='bad'>worse",
		"17 items left out, which the job calibrates on", "2 items do not fit the model's context: i&lt;1&gt;, i2", "1 group of one.m.x",
		"a&lt;b</th>", "id=m-one.m-x>", "id=m-two.m-x>", "m.x; original 0.5 (0.25 to 0.75); plainly quantized 0.3125",
		/* By language, each on the same scale. */
		"id=languages ", "<h4>French <span class=ci>41 items", "<h4>Dutch <span", "<h4>zz <span",
		/* Flips: which way, and how surely. */
		"24.4&nbsp;% of 41", "8 fell, 2 rose", "&lt;&nbsp;0.001",
		"Plain quantization clearly changed 2 of 3 measures. Protection recovered 1 of them and made 1 worse.",
		"7.32&nbsp;%</dd>", "24.4&nbsp;% without protection");
	/* An anchor that two names would share is the first one's. */
	assert_null(strstr(strstr(html, "id=m-one.m-x>") + 5, "id=m-one.m-x>"));
	free(html);
}

static void test_verdicts(void **state)
{
	(void)state;
	char *html = page("{\"evaluation\":[" ROW("one", "null", "", "cannot tell") "]}");
	WANT(html, "class='verdict unjudged'", "This job has no gate", "In none of 1 measures");
	assert_null(strstr(html, "id=languages ")); /* one language is no comparison */
	free(html);
	html = page("{\"gate\":[{\"metric\":\"a.b\",\"passed\":true,\"condition\":\"at-most-times\",\"asked\":1.05,\"than\":\"quantized\",\"confidence\":0.95,"
		"\"measured\":1.5,\"low\":1,\"high\":2,\"bound\":1.75,\"p\":0.0625,\"p_adjusted\":0.125,\"flips\":[\"x<y\",7]}]}");
	WANT(html, "class='verdict accepted'", "meets the one condition", "at most 1.05 times the plainly quantized model, with 95&nbsp;% confidence", ">1.5</span>",
		"1 to 2", "data-label=Bound>1.75<", "0.125<br><span class=ci>alone 0.062", "passed</td>", "2 items flipped to the worse", "<code>x&lt;y</code>, <code>7</code>");
	free(html);
	html = page("{\"gate\":[{\"metric\":\"a\"},{\"metric\":\"b\",\"passed\":true},{\"metric\":\"c\"},{\"metric\":\"d\"},{\"metric\":\"e\"}],\"rejected\":true}");
	WANT(html, "class='verdict rejected'", "fails 4 of 5 conditions of its gate: a, c, d and 1 more.");
	free(html);
	free(page("{\"rejected\":true}"));
}

#define TRY(fraction, passed, bits, measured) \
	"{\"fraction\":" fraction ",\"passed\":" passed ",\"bits_per_weight\":" bits ",\"gate\":[{\"metric\":\"a<.b\",\"condition\":\"not-worse-by\",\"asked\":0.5," \
	"\"than\":\"original\",\"confidence\":0.9,\"measured\":" measured ",\"bound\":0.5,\"passed\":" passed "}]}"

static void test_search(void **state)
{
	(void)state;
	char *html = page("{\"search\":[" TRY("0.25", "true", "6.5", "0.25") "," TRY("0.125", "false", "5.5", "0.75") "," TRY("0.1875", "true", "null", "null") "]}");
	WANT(html, "href='#search'", ">12.5&nbsp;%</td><td class=n>5.500</td><td class=bad>failed</td><td>a&lt;.b</td>", ">18.75&nbsp;%</td><td class=n>&ndash;</td>",
		"shown to be worse than the original by less than 0.5, with 90&nbsp;% confidence", ">bound</text>", "<title>a&lt;.b</title>");
	free(html);
	html = page("{\"search\":[{},{\"gate\":[{}]}]}");
	assert_null(strstr(html, "<title>passed"));
	free(html);
}

/* Harmful texts are folded and marked, texts run in their own direction, and none is longer than a page bears. */
static void test_items(void **state)
{
	(void)state;
	static char text[16384];
	int n = snprintf(text, sizeof text, "{\"evaluation\":[{\"name\":\"e\",\"language\":\"ar\"}],\"flipped\":[{\"name\":\"e\",\"metric\":\"m\",\"id\":\"i<1>\","
		"\"harmful\":true,\"prompt\":\"\\u0647<b>\",\"original\":{\"choice\":1,\"value\":0.5,\"answer\":\"A<i>\"},\"quantized\":{\"choice\":\"B<u>\"},"
		"\"protected\":null},{\"name\":\"f\",\"id\":3,\"group\":\"ko\",\"prompt\":\"%04096d\"}]}", 0);
	assert_true(n > 0 && (size_t)n < sizeof text);
	char *html = page(text);
	WANT(html, "Item i&lt;1&gt;", "harmful text</span>", "<details class=harmful><summary>", "<blockquote lang=\"ar\" dir=auto>\xd9\x87&lt;b&gt;</blockquote>",
		"Original: choice 1</h5>", "value 0.5", "<p lang=\"ar\" dir=auto>A&lt;i&gt;</p>", "Plainly quantized: B&lt;u&gt;", "Item 3 ", ", Korean",
		"<blockquote lang=\"ko\"", "0&hellip;</blockquote>");
	assert_null(strstr(html, "<b>"));
	assert_null(strstr(strstr(html, "Item 3 "), "class=harmful"));
	free(html);
}

static void test_origin(void **state)
{
	(void)state;
	char *html = page("{\"job\":{\"seed\":42,\"model\":\"/m\",\"write\":{\"format\":\"gguf\"}},\"job_digest\":\"5f5f\",\"backend\":\"cpu <x>\",\"chat\":\"llama3\","
		"\"stages\":[{\"name\":\"score\",\"seconds\":3,\"tokens\":21000,\"peak_memory_bytes\":2500000},{\"name\":\"write\",\"seconds\":1}],"
		"\"bounds\":{\"memory\":1e9,\"scratch\":0},\"inputs\":{\"/d/<a>\":{\"size\":1500,\"sha256\":\"abcd\"}},"
		"\"plugins\":[{\"kind\":\"scorer\",\"id\":\"fisher\",\"version\":\"0.1\",\"build_id\":\"be<ef\"}],"
		"\"size\":{\"quantized_bytes\":3e6,\"protected_bytes\":1e6,\"other_bytes\":0,\"bits_per_weight\":4.5},\"protection\":{\"weights\":8e6,\"protected\":1e5}}");
	WANT(html, "<dt>Seed</dt><dd>42</dd>", "5f5f", "cpu &lt;x&gt;", "21,000", "2.5 MB", "score: 75.00 %", "at most 1 GB", "/d/&lt;a&gt;", "1.5 kB", "abcd",
		"be&lt;ef", "4.50 bits a weight", "1.00 bits a weight", "100,000 of 8,000,000 weights (1.25&nbsp;%)", "&quot;format&quot;: &quot;gguf&quot;",
		"Protected weights and their positions: 25.00 %");
	free(html);
}

/* What the sets were, what they made of the score, and what was left out of either side. */
static void test_scores(void **state)
{
	(void)state;
	char *html = page("{\"protection\":{\"weights\":1000,\"protected\":30,\"nonpositive_share\":0.125,"
		"\"scoring\":{\"plugin\":\"fisher\",\"combine\":\"rank\",\"utility\":\"add\",\"beta\":0.5,\"error_aware\":true},"
		"\"sets\":[{\"name\":\"safety\",\"role\":\"critical\",\"samples\":8,\"passed_over\":37,\"tokens\":99,\"loss\":2.25,\"share\":0.75}],"
		"\"unseen_experts\":[\"model.layers.1.mlp.experts.3\",\"model.layers.1.mlp.experts.5\"],"
		"\"top_modules\":[{\"module\":\"model.layers.2.mlp.down_proj\",\"weights\":640,\"protected\":80,\"share\":0.125}]},"
		"\"evaluation\":[{\"name\":\"bias\",\"n\":41,\"excluded\":17},{\"name\":\"ppl\",\"n\":5,\"excluded\":0}]}");
	static const char *const want[] = {"12.50&nbsp;% of the weights have a score of zero or less", "Scored by fisher, times the quantizer's squared error",
		"sets combined by rank, utility: add, beta 0.5", "<td class=n>8</td><td class=n>37</td><td class=n>99</td><td class=n>2.25</td>", "<td class=n>75.00&nbsp;%</td>", "safety: 75.00 %",
		"No calibration token reached 2 experts: model.layers.1.mlp.experts.3, model.layers.1.mlp.experts.5.",
		"model.layers.2.mlp.down_proj</code></th><td class=n>640</td><td class=n>80</td><td class=n>12.50&nbsp;%</td>", "17 items left out"};
	for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
		if (strstr(html, want[i]) == NULL) {
			fail_msg("the page lacks: %s", want[i]);
		}
	}
	assert_null(strstr(html, "; 0 items"));
	free(html);
}

static char *card(const char *text)
{
	json_t *report = json_loads(text, 0, NULL);
	char *md = NULL;
	size_t length = 0;
	assert_non_null(report);
	assert_int_equal(cwe_report_card(report, &md, &length), 0);
	assert_int_equal(strlen(md), length);
	json_decref(report);
	return md;
}

static void test_card(void **state)
{
	(void)state;
	char *md = card("{\"job\":{\"model\":\"/srv/secret/tiny.gguf/\",\"write\":{\"format\":\"gguf\"},\"protect\":{\"carrier\":\"modules\"}},"
		"\"protection\":{\"weights\":1000,\"protected\":30,\"super_added\":20},\"size\":{\"bits_per_weight\":5.25},"
		"\"evaluation\":[{\"name\":\"a|b\",\"metric\":\"ppl\",\"n\":41,\"original\":{\"value\":10.5},\"protected\":{\"value\":11.25,\"low\":11,\"high\":11.5}},"
		"{\"name\":\"a\",\"metric\":\"ppl\",\"group\":\"hidden\",\"n\":7}],\"gate\":[{\"metric\":\"a|b.ppl\",\"passed\":false}],\"rejected\":true}");
	static const char *const want[] = {"base_model: \"tiny\"\n", "# tiny\n", "| protected weights | 50 (5 %) |", "| carried by | modules |",
		"| bits a weight, as stored | 5.250 |", "`.gguf` file loads in llama.cpp", "| a\\|b | ppl | 41 | 10.5 | | 11.25 (11 to 11.5) |",
		"**Rejected.** The quantized model fails 1 of 1 condition of its gate: a\\|b.ppl."};
	for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
		if (strstr(md, want[i]) == NULL) {
			fail_msg("the card lacks: %s", want[i]);
		}
	}
	assert_null(strstr(md, "secret"));
	assert_null(strstr(md, "| 7 |"));
	free(md);
	free(card("{}"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_escaping),
		cmocka_unit_test(test_equal_flips),
		cmocka_unit_test(test_empty),
		cmocka_unit_test(test_map),
		cmocka_unit_test(test_results),
		cmocka_unit_test(test_verdicts),
		cmocka_unit_test(test_search),
		cmocka_unit_test(test_items),
		cmocka_unit_test(test_origin),
		cmocka_unit_test(test_scores),
		cmocka_unit_test(test_card),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
