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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_escaping),
		cmocka_unit_test(test_empty),
		cmocka_unit_test(test_layers),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
