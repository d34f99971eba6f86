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
	assert_non_null(strstr(html, "Rejected by its gate"));
	assert_non_null(strstr(html, "<li>&lt;script&gt;"));
	free(html);
}

static void test_empty(void **state)
{
	(void)state;
	free(page("{}"));
	free(page("{\"job\":{},\"stages\":[{}],\"evaluation\":[{}],\"gate\":[{}],\"warnings\":[{}],\"protection\":{\"sets\":[{}],\"per_module\":{}}}"));
}

static void test_layers(void **state)
{
	(void)state;
	char *html = page("{\"protection\":{\"weights\":1000,\"protected\":30,\"per_module\":{\"model.layers.0.mlp.up_proj\":10,"
		"\"model.layers.2.mlp.up_proj\":15,\"model.layers.2.self_attn.q_proj\":5,\"model.layers.99999999999.x\":7,"
		"\"lm_head\":3}}}");
	assert_non_null(strstr(html, "layer 0: 10 weights"));
	assert_non_null(strstr(html, "layer 1: 0 weights"));
	assert_non_null(strstr(html, "layer 2: 20 weights"));
	assert_null(strstr(html, "layer 3:"));
	assert_null(strstr(html, "http:"));
	assert_null(strstr(html, "https:"));
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
		"sets combined by rank, utility: add, beta 0.5", "<td class=n>8</td><td class=n>37</td><td class=n>99</td><td class=n>2.25</td><td class=n>75.00 %</td>",
		"No calibration token reached 2 experts: model.layers.1.mlp.experts.3, model.layers.1.mlp.experts.5.",
		"model.layers.2.mlp.down_proj</td><td class=n>640</td><td class=n>80</td><td class=n>12.50 %</td>", "41<br><span class=ci>17 excluded</span>"};
	for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
		if (strstr(html, want[i]) == NULL) {
			fail_msg("the page lacks: %s", want[i]);
		}
	}
	assert_null(strstr(html, ">0 excluded"));
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
		"\"evaluation\":[{\"name\":\"a|b\",\"metric\":\"ppl\",\"n\":41,\"original\":{\"value\":10.5},\"protected\":{\"value\":11.25}}]}");
	static const char *const want[] = {"base_model: \"tiny\"\n", "# tiny\n", "| protected weights | 50 (5 %) |", "| carried by | modules |",
		"| bits a weight, as stored | 5.250 |", "`.gguf` file loads in llama.cpp", "| a\\|b | ppl | 41 | 10.5 | | 11.25 |"};
	for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
		if (strstr(md, want[i]) == NULL) {
			fail_msg("the card lacks: %s", want[i]);
		}
	}
	assert_null(strstr(md, "secret"));
	free(md);
	free(card("{}"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_escaping),
		cmocka_unit_test(test_empty),
		cmocka_unit_test(test_layers),
		cmocka_unit_test(test_scores),
		cmocka_unit_test(test_card),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
