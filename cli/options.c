/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The command line: options of cwpctl and of its verbs, checked against the table, and their help.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/nearest.h"
#include "base/quantity.h"
#include "cli/cwc.h"
#include "config.h"

const char *cwc_option_value(const struct cwc *cwc, const char *name, size_t index)
{
	size_t i;

	for (i = 0; i < cwc->n_settings; i++) {
		if (strcmp(cwc->setting[i].option->name, name) == 0 && index-- == 0) {
			return cwc->setting[i].value;
		}
	}
	return NULL;
}

int cwc_option_given(const struct cwc *cwc, const char *name)
{
	return cwc_option_value(cwc, name, 0) != NULL;
}

int cwc_usage_error(const struct cwc *cwc, const char *format, ...)
{
	struct cwc_text text = {0};
	char message[512];
	va_list args;

	va_start(args, format);
	(void)vsnprintf(message, sizeof message, format, args);
	va_end(args);
	cwc_text_clean(&text, message, strlen(message), 0);
	fprintf(stderr, "cwpctl: %s; try cwpctl %s%s--help\n", cwc_text_get(&text),
		cwc->verb ? cwc->verb->name : "", cwc->verb ? " " : "");
	cwc_text_free(&text);
	return CWC_USAGE;
}

int cwc_parse_int(const struct cwc *cwc, const char *what, const char *text, int64_t low,
	int64_t high, int64_t *ret)
{
	char *end;
	long long value = strtoll(text, &end, 10);

	if (*text == '\0' || *end != '\0' || value < low || value > high) {
		return cwc_usage_error(cwc,
			"%s: \"%s\" is no whole number from %" PRId64 " to %" PRId64, what, text,
			low, high);
	}
	*ret = value;
	return 0;
}

int cwc_parse_time(const struct cwc *cwc, const char *what, const char *text, int64_t *ret)
{
	uint64_t seconds;

	if (cwb_time_parse(text, &seconds) < 0 || seconds > (uint64_t)INT64_MAX / 1000) {
		return cwc_usage_error(
			cwc, "%s: \"%s\" is no time; write 90s, 15m or 2h", what, text);
	}
	*ret = (int64_t)seconds;
	return 0;
}

static void print_options(const struct cwc_option *option)
{
	for (; option && option->name; option++) {
		char left[64];

		(void)snprintf(left, sizeof left, "--%s%s%s", option->name,
			option->value ? " " : "", option->value ? option->value : "");
		printf("  %-20s %s%s\n", left, option->help,
			option->repeats ? " (may be repeated)" : "");
	}
}

static void print_help(void)
{
	const struct cwc_verb *verb;

	printf("usage: cwpctl [options] verb [options] [operands]\n\n"
	       "Submits, watches and steers the jobs of cwpd, which quantizes language "
	       "models.\n\nVerbs:\n");
	for (verb = cwc_verbs; verb->name; verb++) {
		printf("  %-12s %s\n", verb->name, verb->summary);
	}
	printf("\nOptions before or behind a verb:\n");
	print_options(cwc_globals);
	printf("\ncwpctl VERB --help tells more. Exit status: 0 done, 1 a job failed or was "
	       "cancelled, 2 its gate rejected\n"
	       "it, 64 usage, 65 bad input or no such job, 69 no daemon or draining, 75 try again "
	       "or a wait timed out,\n"
	       "77 not permitted, 78 configuration.\n");
}

static void print_verb_help(const struct cwc_verb *verb)
{
	printf("usage: cwpctl %s%s%s%s\n\n%s.\n", verb->name, verb->options ? " [options]" : "",
		*verb->operands ? " " : "", verb->operands, verb->summary);
	if (verb->details) {
		printf("\n%s", verb->details);
	}
	printf("\nOptions:\n");
	print_options(verb->options);
	print_options(cwc_globals);
}

static const struct cwc_option *find_in(
	const struct cwc_option *option, const char *name, size_t length)
{
	for (; option && option->name; option++) {
		if (strlen(option->name) == length && strncmp(option->name, name, length) == 0) {
			return option;
		}
	}
	return NULL;
}

static const char *nearest_option(const struct cwc_verb *verb, const char *name)
{
	const struct cwc_option *option = verb ? verb->options : NULL;
	const char *names[32];
	size_t count = 0;

	for (; option && option->name && count < 24; option++) {
		names[count++] = option->name;
	}
	for (option = cwc_globals; option->name && count < 32; option++) {
		names[count++] = option->name;
	}
	return cwb_nearest(name, names, count, sizeof names[0]);
}

static int set_option(struct cwc *cwc, const struct cwc_option *option, const char *value)
{
	if (cwc_option_given(cwc, option->name) && !option->repeats && option->value) {
		return cwc_usage_error(cwc, "--%s is given twice", option->name);
	}
	cwc->setting[cwc->n_settings++] = (struct cwc_setting){option, value};
	return -1;
}

/* Takes one "--name", "--name=value" or "--name value"; *index moves behind it. */
static int take_option(struct cwc *cwc, char **argv, int argc, int *index)
{
	const char *name = argv[*index] + 2, *equals = strchr(name, '='),
		   *value = equals ? equals + 1 : NULL;
	size_t length = equals ? (size_t)(equals - name) : strlen(name);
	const struct cwc_option *option = find_in(cwc_globals, name, length);
	char given[64];

	if (!option && cwc->verb) {
		option = find_in(cwc->verb->options, name, length);
	}
	if (!option) {
		const char *nearest;

		(void)snprintf(given, sizeof given, "%.*s", (int)(length > 60 ? 60 : length), name);
		nearest = nearest_option(cwc->verb, given);
		if (nearest) {
			return cwc_usage_error(
				cwc, "unknown option --%s (nearest: --%s)", given, nearest);
		}
		return cwc_usage_error(cwc, "unknown option --%s", given);
	}
	if (!option->value && value) {
		return cwc_usage_error(cwc, "--%s takes no value", option->name);
	}
	if (option->value && !value) {
		if (*index + 1 >= argc) {
			return cwc_usage_error(
				cwc, "--%s needs a value: %s", option->name, option->value);
		}
		value = argv[++*index];
	}
	return set_option(cwc, option, value ? value : "");
}

static int take_verb(struct cwc *cwc, const char *name)
{
	cwc->verb = cwc_verb_find(name);
	if (!cwc->verb) {
		size_t count = 0;
		const char *nearest;

		while (cwc_verbs[count].name) {
			count++;
		}
		nearest = cwb_nearest(name, &cwc_verbs[0].name, count, sizeof cwc_verbs[0]);
		if (nearest) {
			return cwc_usage_error(
				cwc, "unknown verb \"%s\" (nearest: %s)", name, nearest);
		}
		return cwc_usage_error(cwc, "unknown verb \"%s\"", name);
	}
	return -1;
}

static int check_operands(struct cwc *cwc)
{
	const struct cwc_verb *verb = cwc->verb;

	if (cwc->n_operands < verb->least) {
		return cwc_usage_error(cwc, "%s needs %s", verb->name, verb->operands);
	}
	if (verb->most >= 0 && cwc->n_operands > verb->most) {
		return cwc_usage_error(cwc, "\"%s\" is one operand too many for %s",
			cwc->operand[verb->most], verb->name);
	}
	return -1;
}

int cwc_options_parse(struct cwc *cwc, int argc, char **argv)
{
	int i, status, only_operands = 0;

	cwc->n_settings = 0;
	cwc->n_operands = 0;
	cwc->setting = calloc((size_t)argc + 1, sizeof *cwc->setting);
	cwc->operand = calloc((size_t)argc + 1, sizeof *cwc->operand);
	if (!cwc->setting || !cwc->operand) {
		fputs("cwpctl: out of memory\n", stderr);
		return CWC_TRY_AGAIN;
	}
	for (i = 1; i < argc; i++) {
		const char *word = argv[i];

		status = -1;
		if (!only_operands && strcmp(word, "--") == 0) {
			only_operands = 1;
		} else if (!only_operands && strcmp(word, "-h") == 0) {
			status = set_option(cwc, find_in(cwc_globals, "help", 4), "");
		} else if (!only_operands && strncmp(word, "--", 2) == 0) {
			status = take_option(cwc, argv, argc, &i);
		} else if (!only_operands && cwc->verb && strcmp(word, "-f") == 0 &&
			   find_in(cwc->verb->options, "follow", 6)) {
			status = set_option(cwc, find_in(cwc->verb->options, "follow", 6), "");
		} else if (!only_operands && word[0] == '-' && word[1] != '\0' &&
			   !(word[1] >= '0' && word[1] <= '9')) {
			status = cwc_usage_error(cwc, "unknown option %s", word);
		} else if (!cwc->verb) {
			status = take_verb(cwc, word);
		} else {
			cwc->operand[cwc->n_operands++] = argv[i];
		}
		if (status >= 0) {
			return status;
		}
	}
	if (cwc_option_given(cwc, "help")) {
		if (cwc->verb) {
			print_verb_help(cwc->verb);
		} else {
			print_help();
		}
		return CWC_DONE;
	}
	if (cwc_option_given(cwc, "version")) {
		printf("cwpctl %s\n", PACKAGE_VERSION);
		return CWC_DONE;
	}
	if (!cwc->verb) {
		return cwc_usage_error(cwc, "no verb");
	}
	return check_operands(cwc);
}
