/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Sample files: JSON lines {"ids", "weights", "group"}. */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/digest.h"
#include "base/json.h"
#include "engine/text/component.h"
#include "engine/text/lines.h"
#include "engine/text/sampleset.h"
#include "engine/text/vocabulary.h"

struct reader {
	const char *path;
	size_t line;
	size_t limit;
	const char *limit_name;
	size_t vocabulary;
	struct cwe_sampleset set;
	struct cwe_vocabulary *groups; /* of a group's name: the number of its sample */
};

static int read_ids(
	const struct reader *r, const json_t *ids, struct cwe_sequence *s, struct cwb_err *err)
{
	for (size_t i = 0; i < s->count; i++) {
		const json_t *value = json_array_get(ids, i);
		json_int_t id = json_integer_value(value);
		if (!json_is_integer(value))
			return cwe_lines_refuse(err, CWP_EVALUE, r->path, r->line, "ids",
				"item %zu is %s, not an integer", i, cwb_json_type_name(value));
		if (id < 0 || (uint64_t)id >= r->vocabulary)
			return cwe_lines_refuse(err, CWP_EVALUE, r->path, r->line, "ids",
				"item %zu is %" JSON_INTEGER_FORMAT
				", but the model's ids are 0 to %zu",
				i, id, r->vocabulary - 1);
		s->id[i] = (uint32_t)id;
	}
	return 0;
}

static int read_weights(
	const struct reader *r, const json_t *weights, struct cwe_sequence *s, struct cwb_err *err)
{
	for (size_t i = 0; i < s->count; i++) {
		const json_t *value = json_array_get(weights, i);
		if (!json_is_number(value))
			return cwe_lines_refuse(err, CWP_EVALUE, r->path, r->line, "weights",
				"item %zu is %s, not a number", i, cwb_json_type_name(value));
		s->weight[i] = (float)json_number_value(value);
		if (!isfinite(s->weight[i]))
			return cwe_lines_refuse(err, CWP_ENUMBER, r->path, r->line, "weights",
				"item %zu is beyond the range of 32-bit numbers", i);
	}
	if (s->weight[0] != 0)
		return cwe_lines_refuse(err, CWP_EVALUE, r->path, r->line, "weights",
			"item 0 is %g, but nothing predicts the first token: it must be 0",
			(double)s->weight[0]);
	return 0;
}

static int array_of(const struct reader *r, const json_t *line, const char *field,
	const json_t **ret, struct cwb_err *err)
{
	*ret = json_object_get(line, field);
	if (!*ret)
		return cwe_lines_refuse(err, CWP_EMISSING, r->path, r->line, field, "absent");
	if (!json_is_array(*ret))
		return cwe_lines_refuse(err, CWP_EVALUE, r->path, r->line, field,
			"not an array but %s", cwb_json_type_name(*ret));
	return 0;
}

static int read_sequence(
	const struct reader *r, const json_t *line, struct cwe_sequence *s, struct cwb_err *err)
{
	const json_t *ids = NULL;
	const json_t *weights = NULL;
	int rc = array_of(r, line, "ids", &ids, err);
	if (rc == 0)
		rc = array_of(r, line, "weights", &weights, err);
	if (rc < 0)
		return rc;
	size_t n = json_array_size(ids);
	if (n == 0)
		return cwe_lines_refuse(err, CWP_EVALUE, r->path, r->line, "ids", "empty");
	if (json_array_size(weights) != n)
		return cwe_lines_refuse(err, CWP_EVALUE, r->path, r->line, "weights",
			"%zu items for %zu ids", json_array_size(weights), n);
	if (r->limit > 0 && n > r->limit)
		return cwe_lines_refuse(err, CWP_ELIMIT, r->path, r->line, "ids",
			"%zu tokens are more than %s of %zu", n, r->limit_name, r->limit);
	s->id = malloc(n * sizeof(*s->id));
	s->weight = malloc(n * sizeof(*s->weight));
	s->count = n;
	if (!s->id || !s->weight)
		rc = cwb_err_set(err, -ENOMEM, "%s: out of memory", r->path);
	if (rc == 0)
		rc = read_ids(r, ids, s, err);
	if (rc == 0)
		rc = read_weights(r, weights, s, err);
	if (rc != 0)
		cwe_sequence_free(s);
	return rc;
}

/* The number of the sample that a line belongs to; a new one when it is the first of its group. */
static int find_sample(struct reader *r, const json_t *line, size_t *ret, struct cwb_err *err)
{
	const json_t *group = json_object_get(line, "group");
	char name[256];
	int n = 0;
	if (json_is_integer(group))
		n = snprintf(
			name, sizeof(name), "i%" JSON_INTEGER_FORMAT, json_integer_value(group));
	else if (json_is_string(group))
		n = snprintf(name, sizeof(name), "s%s", json_string_value(group));
	else if (group && !json_is_null(group))
		return cwe_lines_refuse(err, CWP_EVALUE, r->path, r->line, "group",
			"%s, not an integer or a string", cwb_json_type_name(group));
	if (n >= (int)sizeof(name))
		return cwe_lines_refuse(err, CWP_ELIMIT, r->path, r->line, "group",
			"longer than %zu bytes", sizeof(name) - 2);
	int64_t known = n > 0 ? cwe_vocabulary_id(r->groups, name, (size_t)n) : -1;
	*ret = known >= 0 ? (size_t)known : r->set.set->count;
	if (known >= 0)
		return 0;
	if (*ret >= CWE_ID_LIMIT)
		return cwe_lines_refuse(err, CWP_ELIMIT, r->path, r->line, "",
			"more than %u samples", CWE_ID_LIMIT);
	if (!cwe_sampleset_add(&r->set))
		return cwb_err_set(err, -ENOMEM, "%s: out of memory", r->path);
	return n > 0 ? cwe_vocabulary_add(r->groups, name, (size_t)n, (uint32_t)*ret, "group", err)
		     : 0;
}

static int read_line(struct reader *r, const char *text, size_t length, struct cwb_err *err)
{
	struct cwb_err inner = {0};
	struct cwe_sequence sequence = {0};
	size_t sample = 0;
	json_t *line;
	int rc = cwb_json_load(text, length, CWE_LINE_LIMIT, CWB_JSON_DEPTH, &line, &inner);
	if (rc < 0)
		return cwe_lines_refuse(err, rc, r->path, r->line, "", "%s", inner.message);
	if (!json_is_object(line))
		rc = cwe_lines_refuse(err, CWP_EVALUE, r->path, r->line, "", "not a JSON object");
	else
		rc = read_sequence(r, line, &sequence, err);
	if (rc == 0) {
		rc = find_sample(r, line, &sample, err);
		if (rc != 0)
			cwe_sequence_free(&sequence);
		else if (cwe_sampleset_add_sequence(&r->set, sample, &sequence) < 0)
			rc = cwb_err_set(err, -ENOMEM, "%s: out of memory", r->path);
	}
	json_decref(line);
	return rc;
}

/* Of its ids and weights as decimal and hexadecimal text. */
static int digest_sample(struct cwe_sample *s)
{
	char hex[CWB_DIGEST_HEX];
	char identity[48];
	struct cwb_digest d = {0};
	int rc = cwb_digest_begin(&d);
	if (rc < 0)
		return rc;
	for (size_t i = 0; i < s->count; i++) {
		for (size_t j = 0; j < s->sequence[i].count; j++) {
			char text[64];
			int n = snprintf(text, sizeof(text), "%" PRIu32 " %a%c",
				s->sequence[i].id[j], (double)s->sequence[i].weight[j],
				j + 1 < s->sequence[i].count ? ',' : '\n');
			cwb_digest_update(&d, text, (size_t)n);
		}
	}
	rc = cwb_digest_end_hex(&d, hex);
	if (rc < 0)
		return rc;
	snprintf(s->digest, sizeof(s->digest), "%.32s", hex);
	snprintf(identity, sizeof(identity), "samples/%.32s", hex);
	s->identity = strdup(identity);
	return s->identity ? 0 : -ENOMEM;
}

static int is_blank(const char *text, size_t length)
{
	for (size_t i = 0; i < length; i++) {
		if (text[i] != ' ' && text[i] != '\t' && text[i] != '\r')
			return 0;
	}
	return 1;
}

int cwe_samplefile_read(const char *path, size_t limit, const char *limit_name, size_t vocabulary,
	struct cwe_sample_set *ret, struct cwb_err *err)
{
	struct cwe_sample_set set = {0};
	struct reader r = {
		.path = path, .limit = limit, .limit_name = limit_name, .vocabulary = vocabulary};
	struct cwe_lines l;
	const char *text;
	size_t length;
	r.set.set = &set;
	int rc = cwe_lines_open(path, &l, err);
	if (rc < 0)
		return rc;
	rc = cwe_vocabulary_new(&r.groups, err);
	while (rc == 0 && (rc = cwe_lines_next(&l, &text, &length, err)) > 0) {
		r.line = l.line;
		rc = is_blank(text, length) ? 0 : read_line(&r, text, length, err);
	}
	cwe_lines_close(&l);
	cwe_vocabulary_free(r.groups);
	if (rc == 0 && set.count == 0)
		rc = cwb_err_set(err, CWP_EMISSING,
			"%s: no samples; give a file that holds some, or leave the set out", path);
	for (size_t i = 0; i < set.count && rc == 0; i++) {
		if (digest_sample(&set.sample[i]) < 0)
			rc = cwb_err_set(err, -ENOMEM, "%s: out of memory", path);
	}
	if (rc < 0)
		cwe_samples_free(&set);
	else
		*ret = set;
	return rc;
}
