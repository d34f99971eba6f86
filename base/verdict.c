/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The verdict of a report in words. */
#include "base/verdict.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define NAMES_MAX 3u      /* failed conditions that the sentence names */
#define NAME_BYTES 120u

static void add(char *text, size_t size, const char *format, ...) __attribute__((format(printf, 3, 4)));

static void add(char *text, size_t size, const char *format, ...)
{
	size_t n = strlen(text);
	va_list args;
	va_start(args, format);
	(void)vsnprintf(text + n, size - n, format, args);
	va_end(args);
}

/* Bytes of a name that fit, whole characters of UTF-8. */
static int fitting(const char *name)
{
	size_t n = strlen(name);
	if (n > NAME_BYTES) {
		for (n = NAME_BYTES; n > 0 && ((unsigned char)name[n] & 0xc0) == 0x80; n--) {
		}
	}
	return (int)n;
}

static void judge_gate(const json_t *rows, struct cwb_verdict *v)
{
	size_t i;
	const json_t *row;
	json_array_foreach(rows, i, row) {
		v->conditions++;
		v->failed += !json_is_true(json_object_get(row, "passed"));
	}
	if (v->state == CWB_VERDICT_NO_GATE) {
		add(v->gate, sizeof v->gate, "This job has no gate: nobody said what the quantized model must fulfil, so nothing is accepted or "
			"rejected.");
		return;
	}
	if (v->failed == 0) {
		add(v->gate, sizeof v->gate, v->conditions == 1 ? "The quantized model meets the one condition of its gate."
			: "The quantized model meets all %zu conditions of its gate.", v->conditions);
		return;
	}
	add(v->gate, sizeof v->gate, "The quantized model fails %zu of %zu condition%s of its gate: ", v->failed, v->conditions,
		v->conditions == 1 ? "" : "s");
	size_t named = 0;
	json_array_foreach(rows, i, row) {
		const char *metric = json_string_value(json_object_get(row, "metric"));
		if (json_is_true(json_object_get(row, "passed")) || named == NAMES_MAX) {
			continue;
		}
		metric = metric != NULL ? metric : "?";
		add(v->gate, sizeof v->gate, "%s%.*s%s", named > 0 ? ", " : "", fitting(metric), metric, metric[fitting(metric)] != '\0' ? "..." : "");
		named++;
	}
	if (v->failed > named) {
		add(v->gate, sizeof v->gate, " and %zu more", v->failed - named);
	}
	add(v->gate, sizeof v->gate, ". It should not take the original's place.");
}

static void count_recovery(const json_t *rows, struct cwb_verdict *v)
{
	size_t i;
	const json_t *row;
	json_array_foreach(rows, i, row) {
		const json_t *recovery = json_object_get(row, "recovery");
		const char *group = json_string_value(json_object_get(row, "group"));
		const char *verdict = json_string_value(json_object_get(recovery, "verdict"));
		if (verdict == NULL || (group != NULL && group[0] != '\0')) {
			continue;
		}
		v->measures++;
		v->recovered += strcmp(verdict, "recovered") == 0;
		v->partly += strcmp(verdict, "partly") == 0;
		v->not_recovered += strcmp(verdict, "not") == 0;
		v->worse += strcmp(verdict, "worse") == 0;
		v->unclear += strcmp(verdict, "cannot tell") == 0;
	}
}

static void say_recovery(struct cwb_verdict *v)
{
	size_t damaged = v->measures - v->unclear;
	char *text = v->recovery;
	if (v->measures == 0) {
		return;
	}
	if (damaged == 0) {
		add(text, sizeof v->recovery, "In none of %zu measures is the damage of plain quantization larger than the noise, so what protection "
			"recovered cannot be told.", v->measures);
		return;
	}
	add(text, sizeof v->recovery, "Plain quantization clearly changed %zu of %zu measures. Protection recovered %zu of them", damaged,
		v->measures, v->recovered);
	if (v->partly > 0) {
		add(text, sizeof v->recovery, ", %zu in part", v->partly);
	}
	if (v->not_recovered > 0) {
		add(text, sizeof v->recovery, ", left %zu", v->not_recovered);
	}
	if (v->worse > 0) {
		add(text, sizeof v->recovery, "%s made %zu worse", v->partly + v->not_recovered > 0 ? ", and" : " and", v->worse);
	}
	add(text, sizeof v->recovery, ".");
}

void cwb_verdict_of(const json_t *report, struct cwb_verdict *ret)
{
	static const char *const headline[] = {"Not judged", "Accepted", "Rejected"}, *const name[] = {"unjudged", "accepted", "rejected"};
	const json_t *gate = json_object_get(report, "gate");
	*ret = (struct cwb_verdict){.state = CWB_VERDICT_NO_GATE};
	if (json_array_size(gate) > 0) {
		ret->state = CWB_VERDICT_ACCEPTED;
	}
	judge_gate(gate, ret);
	if (ret->failed > 0) {
		ret->state = CWB_VERDICT_REJECTED;
	} else if (json_is_true(json_object_get(report, "rejected"))) {
		ret->state = CWB_VERDICT_REJECTED;
		(void)snprintf(ret->gate, sizeof ret->gate, "The quantized model was rejected; the report does not say by which condition.");
	}
	ret->headline = headline[ret->state];
	ret->name = name[ret->state];
	count_recovery(json_object_get(report, "evaluation"), ret);
	say_recovery(ret);
}
