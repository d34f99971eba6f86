/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Patterns over names of modules. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "engine/format/adapter_pattern.h"

#include <errno.h>
#include <pcre2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LENGTH_LIMIT 4096 /* bytes of a pattern */
#define DEPTH_LIMIT 32    /* groups in each other */
#define STEP_LIMIT 50000u /* of one match: a name has about 60 characters */
#define HEAP_LIMIT 1024u  /* KiB of one match */

struct cwe_adapter_pattern {
	enum cwe_adapter_match kind;
	char *text;
	char *place;
	int plain;         /* nothing but letters, digits, '-', '_' and dots: compared directly */
	pcre2_code *code;  /* NULL when plain */
	uint32_t layer_at; /* group of the layer's number */
};

static int out_of_memory(const char *place, struct cwb_err *err)
{
	return cwb_err_set(err, -ENOMEM, "%s: out of memory", place);
}

/* Names of modules as most adapters have them. A dot that nothing escapes stands for any character,
 * as in an expression. */
static int is_plain(const char *text)
{
	for (; *text; text++) {
		int named = (*text >= 'a' && *text <= 'z') || (*text >= 'A' && *text <= 'Z') ||
			    (*text >= '0' && *text <= '9') || *text == '_' || *text == '-' ||
			    *text == '.';

		if (!named)
			return 0;
	}
	return 1;
}

/* The expression around the pattern; freed with free(). */
static char *wrap(const char *text, enum cwe_adapter_match kind)
{
	char *all = NULL;
	int n = -1;

	if (kind == CWE_ADAPTER_SUFFIX)
		n = asprintf(&all, "(.*\\.)?(%s)$", text);
	else if (kind == CWE_ADAPTER_WHOLE)
		n = asprintf(&all, "(?:%s)\\z", text);
	else if (text)
		n = asprintf(&all, "(?:^|.*?\\.)%s\\.(?P<idx>\\d+)\\.", text);
	else
		n = asprintf(&all, ".*?\\.[^.]*\\.(?P<idx>\\d+)\\.");
	return n < 0 ? NULL : all;
}

static int refuse(int code, PCRE2_SIZE at, const char *text, const char *place, struct cwb_err *err)
{
	PCRE2_UCHAR why[128] = "";

	if (code == PCRE2_ERROR_HEAP_FAILED || code == PCRE2_ERROR_NOMEMORY)
		return out_of_memory(place, err);
	pcre2_get_error_message(code, why, sizeof why);
	return cwb_err_set(err, CWP_EVALUE,
		"%s: \"%.100s\" is no regular expression that can be used here: %s (near byte %zu)",
		place, text ? text : "", (const char *)why, (size_t)at);
}

static int compile(struct cwe_adapter_pattern *p, const char *text, struct cwb_err *err)
{
	pcre2_compile_context *context = pcre2_compile_context_create(NULL);
	char *all = wrap(text, p->kind);
	PCRE2_SIZE at = 0;
	int code = 0, group, rc = context && all ? 0 : out_of_memory(p->place, err);

	if (!rc) {
		pcre2_set_parens_nest_limit(context, DEPTH_LIMIT);
		p->code = pcre2_compile((PCRE2_SPTR)all, PCRE2_ZERO_TERMINATED,
			PCRE2_ANCHORED | PCRE2_DOLLAR_ENDONLY | PCRE2_UTF | PCRE2_NEVER_BACKSLASH_C,
			&code, &at, context);
		if (!p->code)
			rc = refuse(code, at, text, p->place, err);
	}
	if (!rc && p->kind == CWE_ADAPTER_LAYER) {
		group = pcre2_substring_number_from_name(p->code, (PCRE2_SPTR) "idx");
		if (group < 0)
			rc = refuse(group, 0, text, p->place, err);
		else
			p->layer_at = (uint32_t)group;
	}
	pcre2_compile_context_free(context);
	free(all);
	return rc;
}

int cwe_adapter_pattern_new(const char *text, enum cwe_adapter_match kind, const char *place,
	struct cwe_adapter_pattern **ret, struct cwb_err *err)
{
	struct cwe_adapter_pattern *p;
	int rc;

	if (text && strlen(text) > LENGTH_LIMIT)
		return cwb_err_set(err, CWP_ELIMIT,
			"%s: a pattern of %zu bytes, at most %d are allowed", place, strlen(text),
			LENGTH_LIMIT);
	p = calloc(1, sizeof *p);
	if (!p)
		return out_of_memory(place, err);
	p->kind = kind;
	p->place = strdup(place);
	p->text = strdup(text ? text : "");
	p->plain = text && kind == CWE_ADAPTER_SUFFIX && is_plain(text);
	rc = !p->place || !p->text ? out_of_memory(place, err)
	     : p->plain            ? 0
				   : compile(p, text, err);
	if (rc) {
		cwe_adapter_pattern_free(p);
		return rc;
	}
	*ret = p;
	return 0;
}

void cwe_adapter_pattern_free(struct cwe_adapter_pattern *p)
{
	if (!p)
		return;
	pcre2_code_free(p->code);
	free(p->text);
	free(p->place);
	free(p);
}

int cwe_adapter_pattern_is_slow(const struct cwe_adapter_pattern *p)
{
	return !p->plain;
}

/* What (.*\.)?(text)$ says of a plain text. */
static int match_plain(const char *text, const char *name)
{
	size_t n = strlen(name), k = strlen(text);

	if (k > n || (k < n && name[n - k - 1] != '.'))
		return 0;
	for (name += n - k; *text; text++, name++)
		if (*text != '.' && *text != *name)
			return 0;
	return 1;
}

static uint64_t number_at(const char *name, const PCRE2_SIZE *bounds)
{
	uint64_t n = 0;

	for (PCRE2_SIZE i = bounds[0]; i < bounds[1] && n < UINT32_MAX; i++)
		n = 10 * n + (uint64_t)(name[i] - '0');
	return n;
}

int cwe_adapter_pattern_match(const struct cwe_adapter_pattern *p, const char *name,
	uint64_t *ret_layer, struct cwb_err *err)
{
	pcre2_match_context *context;
	pcre2_match_data *data;
	int n = PCRE2_ERROR_NOMEMORY;

	if (p->plain)
		return match_plain(p->text, name);
	context = pcre2_match_context_create(NULL);
	data = pcre2_match_data_create_from_pattern(p->code, NULL);
	if (context && data) {
		pcre2_set_match_limit(context, STEP_LIMIT);
		pcre2_set_heap_limit(context, HEAP_LIMIT);
		n = pcre2_match(
			p->code, (PCRE2_SPTR)name, PCRE2_ZERO_TERMINATED, 0, 0, data, context);
	}
	if (n > 0 && p->kind == CWE_ADAPTER_LAYER && ret_layer)
		*ret_layer =
			number_at(name, pcre2_get_ovector_pointer(data) + 2 * (size_t)p->layer_at);
	pcre2_match_data_free(data);
	pcre2_match_context_free(context);
	if (n == PCRE2_ERROR_NOMEMORY)
		return out_of_memory(p->place, err);
	if (n < 0 && n != PCRE2_ERROR_NOMATCH)
		return cwb_err_set(err, CWP_ELIMIT,
			"%s: \"%.100s\" takes too many steps to match the module \"%.200s\"; write "
			"it more simply",
			p->place, p->text, name);
	return n > 0;
}
