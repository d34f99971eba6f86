/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* One reader a kind of value. Each refuses what it does not fully understand and says what to write
 * instead. */
#include <errno.h>
#include <inttypes.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/quantity.h"
#include "job/path.h"
#include "job/schema_value.h"

enum { LONGEST_PATH = 4095, LONGEST_TEXT = 4096 };

int cwj_is_null(const char *text)
{
	return text[0] == '\0' || strcmp(text, "~") == 0 || strcmp(text, "null") == 0 ||
	       strcmp(text, "Null") == 0 || strcmp(text, "NULL") == 0;
}

int cwj_fail_kind(
	struct cwj_reader *r, const struct cwj_yaml *node, const char *wanted, const char *remedy)
{
	switch (node->kind) {
	case CWJ_YAML_SEQUENCE:
		return cwj_fail(r, node, CWP_EVALUE, "needs %s, found a list; %s", wanted, remedy);
	case CWJ_YAML_MAPPING:
		return cwj_fail(
			r, node, CWP_EVALUE, "needs %s, found a mapping; %s", wanted, remedy);
	case CWJ_YAML_SCALAR:
		break;
	}
	return cwj_fail(r, node, CWP_EVALUE, "needs %s, found the %s \"%.64s\"; %s", wanted,
		node->quoted ? "quoted text" : "value", node->text, remedy);
}

static size_t count_names(const char *const *names)
{
	size_t count = 0;

	while (names[count] != NULL) {
		count++;
	}
	return count;
}

static void join_names(const char *const *names, char *ret, size_t size)
{
	size_t used = (size_t)snprintf(ret, size, "write one of: ");

	for (size_t i = 0; names[i] != NULL && used < size; i++) {
		int n = snprintf(ret + used, size - used, "%s%s", i > 0 ? ", " : "", names[i]);
		used += n > 0 ? (size_t)n : 0;
	}
}

void cwj_value_remedy(const struct cwj_key *key, char *ret, size_t size)
{
	if (key->remedy != NULL) {
		snprintf(ret, size, "%s", key->remedy);
		return;
	}
	switch (key->kind) {
	case CWJ_ID:
		snprintf(ret, size, "write a name of lower-case letters, digits and hyphens");
		break;
	case CWJ_LABEL:
		snprintf(ret, size, "write a name of letters, digits, - and _");
		break;
	case CWJ_PATH:
		snprintf(ret, size, "write a path");
		break;
	case CWJ_SIZE:
		snprintf(ret, size, "write a size such as 4GiB (units: KiB MiB GiB KB MB GB)");
		break;
	case CWJ_TIME:
		snprintf(ret, size, "write a time such as 90s, 30m or 2h");
		break;
	case CWJ_COUNT:
	case CWJ_SMALL:
		snprintf(ret, size, "write a whole number from %" PRIu64 " to %" PRIu64, key->low,
			key->high);
		break;
	case CWJ_NUMBER:
		snprintf(ret, size, "write a number from %g to %g", key->least, key->most);
		break;
	case CWJ_SWITCH:
		snprintf(ret, size, "write true or false");
		break;
	case CWJ_CHOICE:
	case CWJ_WORD:
	case CWJ_WORDS:
		join_names(key->names, ret, size);
		break;
	case CWJ_TEXTS:
	case CWJ_PATHS:
		snprintf(ret, size, "write a list such as [a, b]");
		break;
	case CWJ_LIST:
		snprintf(ret, size, "write a list of mappings");
		break;
	case CWJ_OPTIONS:
	case CWJ_MAPPING:
		snprintf(ret, size, "write a mapping such as {key: value}");
		break;
	case CWJ_TEXT:
	case CWJ_CUSTOM:
		snprintf(ret, size, "write its value");
		break;
	}
}

static int fail_value(struct cwj_reader *r, const struct cwj_key *key, const struct cwj_yaml *node,
	const char *reason)
{
	char remedy[256];

	cwj_value_remedy(key, remedy, sizeof(remedy));
	return cwj_fail(r, node, CWP_EVALUE, "%s\"%.64s\" %s; %s", node->quoted ? "quoted " : "",
		node->text, reason, remedy);
}

int cwj_text_store(struct cwj_reader *r, const struct cwj_yaml *node, const char *text, char **ret)
{
	*ret = strdup(text);
	return *ret != NULL ? 0 : cwj_fail(r, node, -ENOMEM, "no memory for its text");
}

/* Control characters would garble lists, logs and terminals; they come in through YAML's escapes.
 */
int cwj_has_control(const char *text)
{
	for (; *text != '\0'; text++) {
		if ((unsigned char)*text < 0x20 || *text == 0x7f) {
			return 1;
		}
	}
	return 0;
}

static int read_text(
	struct cwj_reader *r, const struct cwj_key *key, const struct cwj_yaml *node, char **ret)
{
	size_t length = strlen(node->text), low = key->low,
	       high = key->high > 0 ? key->high : LONGEST_TEXT;

	if (length < low || length == 0) {
		return fail_value(r, key, node, "is too short");
	}
	if (length > high) {
		return cwj_fail(r, node, CWP_EVALUE, "has %zu bytes, at most %zu are allowed",
			length, high);
	}
	if (cwj_has_control(node->text)) {
		return fail_value(r, key, node, "holds control characters");
	}
	return cwj_text_store(r, node, node->text, ret);
}

static int read_name(
	struct cwj_reader *r, const struct cwj_key *key, const struct cwj_yaml *node, char **ret)
{
	static const char lower[] = "abcdefghijklmnopqrstuvwxyz0123456789-";
	static const char label[] =
		"abcdefghijklmnopqrstuvwxyz0123456789-_ABCDEFGHIJKLMNOPQRSTUVWXYZ";
	size_t length = strlen(node->text);
	int is_id = key->kind == CWJ_ID;

	if (length == 0 || length > 63 || strspn(node->text, is_id ? lower : label) != length ||
		(is_id && (node->text[0] < 'a' || node->text[0] > 'z'))) {
		return fail_value(r, key, node, "is no valid name");
	}
	return cwj_text_store(r, node, node->text, ret);
}

static int read_path(struct cwj_reader *r, const struct cwj_yaml *node, char **ret)
{
	if (node->text[0] == '\0') {
		return cwj_fail(r, node, CWP_EVALUE, "an empty path names nothing; write a path");
	}
	if (node->text[0] == '~' && (node->text[1] == '/' || node->text[1] == '\0')) {
		return cwj_fail(r, node, CWP_EVALUE,
			"\"%.64s\": ~ is not expanded; write the whole path", node->text);
	}
	if (cwj_has_control(node->text)) {
		return cwj_fail(r, node, CWP_EVALUE,
			"\"%.64s\" holds control characters; rename the file", node->text);
	}
	char *path = cwj_path_resolve(r->directory, node->text);
	if (path == NULL) {
		return cwj_fail(r, node, -ENOMEM, "no memory for its path");
	}
	if (strlen(path) > LONGEST_PATH) {
		free(path);
		return cwj_fail(r, node, CWP_EVALUE,
			"the path is longer than %d bytes; use a shorter one", (int)LONGEST_PATH);
	}
	*ret = path;
	return 0;
}

static int read_whole(
	struct cwj_reader *r, const struct cwj_key *key, const struct cwj_yaml *node, uint64_t *ret)
{
	uint64_t value = 0;
	int overflow = 0;
	const char *p = node->text;

	if (node->quoted || *p == '\0' || (p[0] == '0' && p[1] != '\0') ||
		strspn(p, "0123456789") != strlen(p)) {
		return fail_value(r, key, node, "is no whole number");
	}
	for (; *p != '\0'; p++) {
		overflow |= __builtin_mul_overflow(value, UINT64_C(10), &value);
		overflow |= __builtin_add_overflow(value, (uint64_t)(*p - '0'), &value);
	}
	if (overflow || value < key->low || value > key->high) {
		return fail_value(r, key, node, "is out of range");
	}
	*ret = value;
	return 0;
}

static int read_quantity(
	struct cwj_reader *r, const struct cwj_key *key, const struct cwj_yaml *node, uint64_t *ret)
{
	uint64_t value;
	int is_size = key->kind == CWJ_SIZE;
	int rc = is_size ? cwb_size_parse(node->text, &value) : cwb_time_parse(node->text, &value);

	if (rc == CWP_ELIMIT) {
		return fail_value(r, key, node, "is too large");
	}
	if (rc < 0) {
		return fail_value(r, key, node, is_size ? "is no size" : "is no time");
	}
	if (value < key->low || (key->high > 0 && value > key->high)) {
		return fail_value(r, key, node, value < key->low ? "is too small" : "is too large");
	}
	*ret = value;
	return 0;
}

/* YAML 1.2's decimal numbers: no hexadecimal, no underscores, no infinities. */
static int is_decimal(const char *p)
{
	size_t digits, fraction = 0;

	p += *p == '-' || *p == '+';
	digits = strspn(p, "0123456789");
	p += digits;
	if (*p == '.') {
		p++;
		fraction = strspn(p, "0123456789");
		p += fraction;
	}
	if (digits + fraction == 0) {
		return 0;
	}
	if (*p == 'e' || *p == 'E') {
		p++;
		p += *p == '-' || *p == '+';
		digits = strspn(p, "0123456789");
		p += digits;
		if (digits == 0) {
			return 0;
		}
	}
	return *p == '\0';
}

int cwj_number_parse(const struct cwj_yaml *node, double *ret)
{
	if (node->kind != CWJ_YAML_SCALAR || node->quoted || !is_decimal(node->text)) {
		return CWP_EVALUE;
	}
	/* strtod reads the point of the user's locale; a job file means the same everywhere. */
	locale_t c = newlocale(LC_NUMERIC_MASK, "C", (locale_t)0);
	if (c == (locale_t)0) {
		return -ENOMEM;
	}
	double value = strtod_l(node->text, NULL, c);
	freelocale(c);
	if (!isfinite(value)) {
		return CWP_EVALUE;
	}
	*ret = value;
	return 0;
}

static int read_number(
	struct cwj_reader *r, const struct cwj_key *key, const struct cwj_yaml *node, double *ret)
{
	double value;

	if (cwj_number_parse(node, &value) < 0) {
		return fail_value(r, key, node, "is no number");
	}
	if (!(value >= key->least && value <= key->most)) {
		char remedy[256];
		cwj_value_remedy(key, remedy, sizeof(remedy));
		return cwj_fail(r, node, CWP_EVALUE, "%s is outside %g..%g; %s", node->text,
			key->least, key->most, remedy);
	}
	*ret = value;
	return 0;
}

static int read_switch(
	struct cwj_reader *r, const struct cwj_key *key, const struct cwj_yaml *node, int *ret)
{
	int is_true = strcmp(node->text, "true") == 0;

	if (node->quoted || (!is_true && strcmp(node->text, "false") != 0)) {
		return fail_value(r, key, node, "is neither true nor false");
	}
	*ret = is_true;
	return 0;
}

int cwj_choice_find(
	struct cwj_reader *r, const struct cwj_key *key, const struct cwj_yaml *node, unsigned *ret)
{
	for (unsigned i = 0; key->names[i] != NULL; i++) {
		if (strcmp(key->names[i], node->text) == 0) {
			*ret = i;
			return 0;
		}
	}
	return cwj_fail_name(r, node, "a valid value", key->names, count_names(key->names),
		sizeof(key->names[0]));
}

int cwj_scalar_read(
	struct cwj_reader *r, const struct cwj_key *key, const struct cwj_yaml *node, void *target)
{
	unsigned choice = 0;
	uint64_t whole = 0;
	int rc;

	switch (key->kind) {
	case CWJ_TEXT:
		return read_text(r, key, node, target);
	case CWJ_ID:
	case CWJ_LABEL:
		return read_name(r, key, node, target);
	case CWJ_PATH:
		return read_path(r, node, target);
	case CWJ_SIZE:
	case CWJ_TIME:
		return read_quantity(r, key, node, target);
	case CWJ_COUNT:
		return read_whole(r, key, node, target);
	case CWJ_SMALL:
		rc = read_whole(r, key, node, &whole);
		if (rc == 0) {
			*(uint32_t *)target = (uint32_t)whole;
		}
		return rc;
	case CWJ_NUMBER:
		return read_number(r, key, node, target);
	case CWJ_SWITCH:
		return read_switch(r, key, node, target);
	case CWJ_CHOICE:
		rc = cwj_choice_find(r, key, node, &choice);
		if (rc == 0) {
			*(unsigned *)target = choice;
		}
		return rc;
	default: /* CWJ_WORD */
		rc = cwj_choice_find(r, key, node, &choice);
		return rc == 0 ? cwj_text_store(r, node, node->text, target) : rc;
	}
}
