/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Progress of a job as one line. The numbers are the daemon's; nothing here reads a clock. */
#include "cli/bar.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#define BAR_MOST 32 /* inner columns of the bar on a wide terminal */
#define BAR_LEAST 8
#define STAGE_COLUMNS 10 /* "calibrate" is the longest stage's name that this keeps in line */

static void copy_clean(const json_t *object, const char *key, char *ret, size_t size)
{
	const json_t *value = json_object_get(object, key);
	struct cwc_text clean = {0}, cut = {0};

	ret[0] = '\0';
	if (!json_is_string(value)) {
		return;
	}
	cwc_text_clean(&clean, json_string_value(value), json_string_length(value), 0);
	/* A column is at most 4 bytes here or the text is not worth showing. */
	cwc_text_add_columns(&cut, cwc_text_get(&clean), size / 4 - 1);
	if (cut.length < size) {
		memcpy(ret, cwc_text_get(&cut), cut.length + 1);
	}
	cwc_text_free(&clean);
	cwc_text_free(&cut);
}

static double number(const json_t *object, const char *key)
{
	const json_t *value = json_object_get(object, key);

	return json_is_number(value) ? json_number_value(value) : -1;
}

void cwc_progress_read(const json_t *object, struct cwc_progress *ret)
{
	const json_t *done = json_object_get(object, "done"),
		     *total = json_object_get(object, "total");

	*ret = (struct cwc_progress){.done = -1, .total = -1};
	copy_clean(object, "stage", ret->stage, sizeof ret->stage);
	copy_clean(object, "unit", ret->unit, sizeof ret->unit);
	if (json_is_integer(done)) {
		ret->done = json_integer_value(done);
	}
	if (json_is_integer(total)) {
		ret->total = json_integer_value(total);
	}
	ret->fraction = number(object, "fraction");
	ret->rate = number(object, "rate");
	ret->eta = number(object, "eta");
}

double cwc_progress_share(const struct cwc_progress *progress)
{
	if (progress->total <= 0 || progress->done < 0) {
		return -1;
	}
	if (progress->done >= progress->total) {
		return 1;
	}
	return (double)progress->done / (double)progress->total;
}

/* Rounded down: 100 % is shown only when all is done. */
static int percent(double share)
{
	return (int)floor(share * 100 + 1e-9);
}

/* A stage that has just begun knows neither what is done nor how much there is. */
static int has_counts(const struct cwc_progress *progress)
{
	return progress->done > 0 || (progress->done == 0 && progress->total > 0);
}

static void add_counts(const struct cwc_progress *progress, struct cwc_text *text)
{
	if (!has_counts(progress)) {
		return;
	}
	if (progress->total > 0) {
		cwc_text_printf(text, "%" PRId64 "/%" PRId64, progress->done, progress->total);
	} else {
		cwc_text_printf(text, "%" PRId64, progress->done);
	}
	if (progress->unit[0]) {
		cwc_text_printf(text, " %s", progress->unit);
	}
}

static void add_rate(const struct cwc_progress *progress, struct cwc_text *text)
{
	if (!(progress->rate > 0)) {
		return;
	}
	cwc_text_number(text, progress->rate);
	/* The unit stands before it, with the counts. */
	cwc_text_add(text, "/s", 2);
}

static void add_eta(const struct cwc_progress *progress, struct cwc_text *text)
{
	if (!(progress->eta >= 0) || cwc_progress_share(progress) >= 1) {
		return;
	}
	cwc_text_printf(text, "ETA ");
	cwc_text_duration(text, progress->eta);
}

static void add_bar(double share, size_t inner, struct cwc_text *text)
{
	size_t full = (size_t)(share * (double)inner), i;

	cwc_text_add(text, "[", 1);
	for (i = 0; i < inner; i++) {
		cwc_text_add(text, i < full ? "=" : i == full ? ">" : " ", 1);
	}
	cwc_text_printf(text, "] %3d%%", percent(share));
}

void cwc_bar_render(const struct cwc_progress *progress, size_t width, struct cwc_text *text)
{
	void (*const part[])(const struct cwc_progress *, struct cwc_text *) = {
		add_counts, add_rate, add_eta};
	struct cwc_text tail = {0}, one = {0}, line = {0};
	double share = cwc_progress_share(progress);
	size_t i, columns, used;

	cwc_text_printf(&line, "%s", progress->stage[0] ? progress->stage : "waiting");
	for (columns = cwc_text_columns(cwc_text_get(&line)); columns < STAGE_COLUMNS; columns++) {
		cwc_text_add(&line, " ", 1);
	}
	used = columns + (share >= 0 ? BAR_LEAST + 8 : 0);
	for (i = 0; i < sizeof part / sizeof part[0]; i++) {
		one.length = 0;
		part[i](progress, &one);
		columns = one.length ? cwc_text_columns(cwc_text_get(&one)) + 2 : 0;
		if (columns == 0) {
			continue;
		}
		if (used + columns > width) {
			break;
		}
		cwc_text_printf(&tail, "  %s", cwc_text_get(&one));
		used += columns;
	}
	if (share >= 0 && used <= width) {
		size_t inner = BAR_LEAST + (width - used);

		cwc_text_add(&line, " ", 1);
		add_bar(share, inner > BAR_MOST ? BAR_MOST : inner, &line);
	}
	cwc_text_add(&line, cwc_text_get(&tail), tail.length);
	cwc_text_add_columns(text, cwc_text_get(&line), width);
	cwc_text_free(&line);
	cwc_text_free(&tail);
	cwc_text_free(&one);
}

void cwc_bar_words(const struct cwc_progress *progress, struct cwc_text *text)
{
	double share = cwc_progress_share(progress);

	cwc_text_printf(text, "%s", progress->stage[0] ? progress->stage : "waiting");
	if (has_counts(progress)) {
		cwc_text_add(text, ": ", 2);
		add_counts(progress, text);
	}
	if (share >= 0) {
		cwc_text_printf(text, " (%d%%)", percent(share));
	}
	if (progress->rate > 0) {
		cwc_text_add(text, ", ", 2);
		add_rate(progress, text);
	}
	if (progress->eta >= 0 && share < 1) {
		cwc_text_add(text, ", ", 2);
		add_eta(progress, text);
	}
}
