/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Reads option values against a plugin's table, and checks the tables themselves. */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/nearest.h"
#include "engine/plugin/settings.h"

enum { MAX_TEXT = 4096, MAX_CHOICES = 64 };

const char *cwe_option_type_name(uint32_t type)
{
	static const char *const name[] = {NULL, "bool", "int", "float", "enum", "string"};

	return type < sizeof(name) / sizeof(name[0]) ? name[type] : NULL;
}

/* A whole decimal integer; no blanks, no other bases. */
static int read_integer(const char *text, int64_t *ret)
{
	char *end;
	const char *digits = text + (*text == '-' || *text == '+');

	if (*digits < '0' || *digits > '9') {
		return -1;
	}
	errno = 0;
	long long v = strtoll(text, &end, 10);
	if (errno != 0 || *end != '\0') {
		return -1;
	}
	*ret = v;
	return 0;
}

/* A whole decimal number that is finite. */
static int read_number(const char *text, double *ret)
{
	char *end;

	if (*text == '\0' || strspn(text, "+-.0123456789eE") != strlen(text)) {
		return -1;
	}
	double v = strtod(text, &end);
	if (*end != '\0' || end == text || !isfinite(v)) {
		return -1;
	}
	*ret = v;
	return 0;
}

/* Index of `text` in "a|b|c", or -1. */
static int choice_index(const char *range, const char *text)
{
	size_t length = strlen(text);
	int index = 0;

	for (const char *at = range;; at++, index++) {
		size_t n = strcspn(at, "|");
		if (n == length && memcmp(at, text, n) == 0) {
			return index;
		}
		at += n;
		if (*at == '\0') {
			return -1;
		}
	}
}

/* Splits "low..high". */
static int split_range(const char *range, char low[64], char high[64])
{
	const char *dots = strstr(range, "..");

	if (dots == NULL || dots == range || dots - range >= 64 || dots[2] == '\0' || strlen(dots + 2) >= 64) {
		return -1;
	}
	memcpy(low, range, (size_t)(dots - range));
	low[dots - range] = '\0';
	memcpy(high, dots + 2, strlen(dots + 2) + 1);
	return 0;
}

static int integer_limits(const char *range, int64_t *ret_low, int64_t *ret_high)
{
	char low[64], high[64];

	if (split_range(range, low, high) < 0 || read_integer(low, ret_low) < 0 || read_integer(high, ret_high) < 0) {
		return -1;
	}
	return *ret_low <= *ret_high ? 0 : -1;
}

static int number_limits(const char *range, double *ret_low, double *ret_high)
{
	char low[64], high[64];

	if (split_range(range, low, high) < 0 || read_number(low, ret_low) < 0 || read_number(high, ret_high) < 0) {
		return -1;
	}
	return *ret_low <= *ret_high ? 0 : -1;
}

static int parse_integer(const struct cwp_option *o, const char *text, struct cwp_setting *s, struct cwb_err *err)
{
	int64_t low, high;
	int allowed = read_integer(text, &s->integer) == 0;

	if (allowed && o->range != NULL && integer_limits(o->range, &low, &high) == 0) {
		allowed = s->integer >= low && s->integer <= high;
	} else if (allowed && o->range != NULL) {
		char plain[32];
		snprintf(plain, sizeof(plain), "%" PRId64, s->integer);
		allowed = choice_index(o->range, plain) >= 0;
	}
	if (!allowed) {
		return cwb_err_set(err, CWP_EVALUE, "%s: '%s' is not %s%s%s", o->name, text,
			o->range == NULL || strstr(o->range, "..") != NULL ? "a whole number" : "one of",
			o->range == NULL ? "" : strstr(o->range, "..") != NULL ? " in " : " ", o->range == NULL ? "" : o->range);
	}
	s->number = (double)s->integer;
	return 0;
}

static int parse_number(const struct cwp_option *o, const char *text, struct cwp_setting *s, struct cwb_err *err)
{
	double low, high;
	int allowed = read_number(text, &s->number) == 0;

	if (allowed && o->range != NULL && number_limits(o->range, &low, &high) == 0) {
		allowed = s->number >= low && s->number <= high;
	}
	if (!allowed) {
		return cwb_err_set(err, CWP_EVALUE, "%s: '%s' is not a number%s%s", o->name, text, o->range != NULL ? " in " : "",
			o->range != NULL ? o->range : "");
	}
	return 0;
}

/* Puts the nearest of a list of choices into err. */
static void offer_choice(const char *range, const char *text, struct cwb_err *err)
{
	char copy[1024];
	const char *choice[MAX_CHOICES] = {NULL};
	size_t n = 0;

	if (err == NULL || strlen(range) >= sizeof(copy)) {
		return;
	}
	memcpy(copy, range, strlen(range) + 1);
	char *rest = copy;
	for (char *word; n < MAX_CHOICES && (word = strsep(&rest, "|")) != NULL;) {
		choice[n++] = word;
	}
	const char *near = cwb_nearest(text, choice, n, sizeof(char *));
	if (near != NULL) {
		snprintf(err->nearest, sizeof(err->nearest), "%s", near);
	}
}

static int parse_choice(const struct cwp_option *o, const char *text, struct cwp_setting *s, struct cwb_err *err)
{
	int index = choice_index(o->range, text);

	if (index < 0) {
		int rc = cwb_err_set(err, CWP_EVALUE, "%s: '%s' is not one of %s", o->name, text, o->range);
		offer_choice(o->range, text, err);
		return rc;
	}
	s->integer = index;
	return 0;
}

static int parse_bool(const struct cwp_option *o, const char *text, struct cwp_setting *s, struct cwb_err *err)
{
	if (strcmp(text, "true") != 0 && strcmp(text, "false") != 0) {
		return cwb_err_set(err, CWP_EVALUE, "%s: '%s' is not true or false", o->name, text);
	}
	s->integer = text[0] == 't';
	return 0;
}

int cwe_option_parse(const struct cwp_option *option, const char *text, struct cwp_setting *ret, struct cwb_err *err)
{
	struct cwp_setting s = {.size = sizeof(s), .type = option->type};
	int rc = 0;

	if (strnlen(text, MAX_TEXT) == MAX_TEXT) {
		return cwb_err_set(err, CWP_EVALUE, "%s: the value has more than %d bytes", option->name, MAX_TEXT - 1);
	}
	switch (option->type) {
	case CWP_OPTION_BOOL:
		rc = parse_bool(option, text, &s, err);
		break;
	case CWP_OPTION_INT:
		rc = parse_integer(option, text, &s, err);
		break;
	case CWP_OPTION_FLOAT:
		rc = parse_number(option, text, &s, err);
		break;
	case CWP_OPTION_ENUM:
		rc = parse_choice(option, text, &s, err);
		break;
	default:
		break;
	}
	if (rc == 0 && (option->type == CWP_OPTION_ENUM || option->type == CWP_OPTION_STRING)) {
		s.string = strdup(text);
		if (s.string == NULL) {
			rc = cwb_err_set(err, -ENOMEM, "%s: no memory for its value", option->name);
		}
	}
	if (rc == 0) {
		*ret = s;
	}
	return rc;
}

static int name_is_valid(const char *name)
{
	size_t n = strnlen(name, 64);

	return n > 0 && n < 64 && name[0] >= 'a' && name[0] <= 'z' &&
	       strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-") == n;
}

/* "a|b|c": no empty word; for INT each word a whole number. */
static int list_is_valid(const char *range, int integers)
{
	char copy[1024];
	int n = 0;

	if (strnlen(range, sizeof(copy)) == sizeof(copy)) {
		return 0;
	}
	memcpy(copy, range, strlen(range) + 1);
	char *rest = copy;
	for (char *word; (word = strsep(&rest, "|")) != NULL; n++) {
		int64_t v;
		if (*word == '\0' || (integers && read_integer(word, &v) < 0)) {
			return 0;
		}
	}
	return n <= MAX_CHOICES;
}

static int range_is_valid(const struct cwp_option *o)
{
	int64_t li, hi;
	double lf, hf;

	switch (o->type) {
	case CWP_OPTION_INT:
		return o->range == NULL || integer_limits(o->range, &li, &hi) == 0 || list_is_valid(o->range, 1);
	case CWP_OPTION_FLOAT:
		return o->range == NULL || number_limits(o->range, &lf, &hf) == 0;
	case CWP_OPTION_ENUM:
		return o->range != NULL && list_is_valid(o->range, 0);
	default:
		return o->range == NULL;
	}
}

int cwe_option_check(const struct cwp_option *option, struct cwb_err *err)
{
	struct cwp_setting value;
	struct cwb_err why = {0};

	if (option->size < sizeof(*option)) {
		return cwb_err_set(err, CWP_EPLUGIN, "an option's size field says %" PRIu32 " bytes, at least %zu are needed", option->size,
			sizeof(*option));
	}
	if (option->name == NULL || !name_is_valid(option->name)) {
		return cwb_err_set(err, CWP_EPLUGIN, "option name '%.64s' is not 1 to 63 lower-case letters, digits and hyphens",
			option->name != NULL ? option->name : "(none)");
	}
	if (cwe_option_type_name(option->type) == NULL) {
		return cwb_err_set(err, CWP_EPLUGIN, "option '%s' has the unknown type %" PRIu32, option->name, option->type);
	}
	if (!range_is_valid(option)) {
		return cwb_err_set(err, CWP_EPLUGIN, "option '%s' has the range '%.128s', which does not fit its type %s", option->name,
			option->range != NULL ? option->range : "(none)", cwe_option_type_name(option->type));
	}
	if (option->standard == NULL || option->help == NULL || option->help[0] == '\0') {
		return cwb_err_set(err, CWP_EPLUGIN, "option '%s' has no default or no help text", option->name);
	}
	if (cwe_option_parse(option, option->standard, &value, &why) < 0) {
		return cwb_err_set(err, CWP_EPLUGIN, "the default of option %s", why.message);
	}
	free((char *)value.string);
	return 0;
}

int cwe_settings_index(const struct cwp_plugin *plugin, const char *name)
{
	for (uint32_t i = 0; i < plugin->n_options; i++) {
		if (strcmp(plugin->options[i].name, name) == 0) {
			return (int)i;
		}
	}
	return -1;
}

/* Adds where in the job file the error lies. */
static int place(const char *field, const struct cwj_option *o, int code, struct cwb_err *err)
{
	if (err != NULL && err->field[0] == '\0') {
		snprintf(err->field, sizeof(err->field), "%s.options.%s", field, o->name);
		err->line = o->line;
		err->column = o->column;
	}
	return code;
}

static int unknown_option(const struct cwp_plugin *plugin, const struct cwj_option *o, struct cwb_err *err)
{
	const char *near = NULL;

	if (plugin->n_options > 0) {
		near = cwb_nearest(o->name, &plugin->options[0].name, plugin->n_options, sizeof(plugin->options[0]));
	}
	int rc = cwb_err_set(err, CWP_EUNKNOWN, "plugin '%s' has no option '%s'%s%s%s", plugin->id, o->name,
		near != NULL ? "; did you mean '" : "", near != NULL ? near : plugin->n_options == 0 ? "; it has none" : "",
		near != NULL ? "'?" : "");
	if (near != NULL && err != NULL) {
		snprintf(err->nearest, sizeof(err->nearest), "%s", near);
	}
	return rc;
}

static int set_option(const struct cwp_plugin *plugin, const struct cwj_option *o, struct cwp_setting *settings, char *given,
	struct cwb_err *err)
{
	struct cwp_setting value;
	int index = cwe_settings_index(plugin, o->name);

	if (index < 0) {
		return unknown_option(plugin, o, err);
	}
	if (given[index]) {
		return cwb_err_set(err, CWP_EVALUE, "%s: given twice; keep one", o->name);
	}
	int rc = cwe_option_parse(&plugin->options[index], o->value, &value, err);
	if (rc < 0) {
		return rc;
	}
	given[index] = 1;
	free((char *)settings[index].string);
	settings[index] = value;
	return 0;
}

int cwe_settings_make(const struct cwp_plugin *plugin, const char *field, const struct cwj_option *option, size_t count,
	struct cwp_setting **ret, struct cwb_err *err)
{
	size_t n = plugin->n_options;
	struct cwp_setting *settings = calloc(n + 1, sizeof(*settings));
	char *given = calloc(n + 1, 1);
	int rc = 0;

	if (settings == NULL || given == NULL) {
		free(given);
		free(settings);
		return cwb_err_set(err, -ENOMEM, "no memory for the options of plugin '%s'", plugin->id);
	}
	for (size_t i = 0; rc == 0 && i < n; i++) {
		rc = cwe_option_parse(&plugin->options[i], plugin->options[i].standard, &settings[i], err);
	}
	for (size_t i = 0; rc == 0 && i < count; i++) {
		rc = set_option(plugin, &option[i], settings, given, err);
		if (rc < 0) {
			place(field, &option[i], rc, err);
		}
	}
	free(given);
	if (rc < 0) {
		cwe_settings_free(plugin, settings);
		return rc;
	}
	*ret = settings;
	return 0;
}

void cwe_settings_free(const struct cwp_plugin *plugin, struct cwp_setting *settings)
{
	if (settings == NULL) {
		return;
	}
	for (uint32_t i = 0; i < plugin->n_options; i++) {
		free((char *)settings[i].string);
	}
	free(settings);
}
