/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* gate and compare: what finished outputs say. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "engine/pipeline/compare.h"
#include "engine/plugin/pool.h"
#include "worker/attempt.h"
#include "worker/judge.h"

#define BAD_INPUT 65

static int print(const json_t *json, int compact, struct cwb_err *err)
{
	char *text = cwb_json_text(json, (compact ? JSON_COMPACT : JSON_INDENT(1)) | JSON_PRESERVE_ORDER, NULL);
	if (text == NULL) {
		return cwb_err_set(err, -ENOMEM, "no memory for the answer");
	}
	(void)puts(text);
	free(text);
	return 0;
}

static int end(int r, struct cwb_err *err, int json_errors)
{
	if (r == 0) {
		return 0;
	}
	if (json_errors) {
		cwk_error_json(err);
	} else {
		cwk_error_print(err);
	}
	return BAD_INPUT;
}

int cwk_gate(const char *output, const char *text, size_t length, const char *file)
{
	struct cwb_err err = {0};
	struct cwj_gates gates = {0};
	struct cwe_pool *pool = NULL;
	json_t *result = NULL;
	int rejected = 0;
	int r = cwj_gates_parse(text, length, &gates, &err);
	if (r != 0 && file != NULL) {
		(void)cwb_err_prefix(&err, "%s:%d:%d", file, err.line, err.column);
	}
	r = r == 0 ? cwe_pool_new(0, &pool, &err) : r;
	r = r == 0 ? cwe_output_judge(output, &gates, pool, &result, &err) : r;
	if (r == 0) {
		rejected = json_is_true(json_object_get(result, "rejected"));
		r = print(result, file == NULL, &err);
	}
	json_decref(result);
	cwe_pool_free(pool);
	cwj_gates_free(&gates);
	int code = end(r, &err, file == NULL);
	return code != 0 ? code : rejected ? 2 : 0;
}

int cwk_compare(const char *const *output, size_t n, int json_errors)
{
	struct cwb_err err = {0};
	struct cwe_pool *pool = NULL;
	json_t *comparison = NULL, *result = NULL;
	char *html = NULL;
	size_t length = 0;
	int r = cwe_pool_new(0, &pool, &err);
	r = r == 0 ? cwe_outputs_compare(output, n, pool, &comparison, &err) : r;
	if (r == 0 && (cwe_compare_html(comparison, &html, &length) != 0 ||
		(result = json_pack("{s:O,s:s%}", "comparison", comparison, "html", html, length)) == NULL)) {
		r = cwb_err_set(&err, -ENOMEM, "no memory for the comparison");
	}
	r = r == 0 ? print(result, json_errors, &err) : r;
	json_decref(result);
	json_decref(comparison);
	free(html);
	cwe_pool_free(pool);
	return end(r, &err, json_errors);
}
