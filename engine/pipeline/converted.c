/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* What the report of an output becomes when the output is converted. */
#include "engine/pipeline/converted.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/json.h"
#include "engine/format/format.h"
#include "engine/pipeline/carrier.h"
#include "engine/pipeline/report.h"

#define MOST ((size_t)256 << 20) /* bytes of a report */

/* A new reference, given away, becomes a member; one that is NULL found no memory. */
static int put(json_t *object, const char *key, json_t *value, struct cwb_err *err)
{
	return json_object_set_new(object, key, value) == 0 ? 0 : cwb_err_set(err, -ENOMEM, "report.json: no memory");
}

static json_t *size_json(const struct cwe_converted *made)
{
	const struct cwe_output_size *s = &made->size;
	uint64_t whole = made->whole_bytes < s->other_bytes ? made->whole_bytes : s->other_bytes;
	return json_pack("{s:I,s:I,s:I,s:I,s:f}", "quantized_bytes", (json_int_t)s->quantized_bytes, "protected_bytes",
		(json_int_t)s->protected_bytes, "whole_bytes", (json_int_t)whole, "other_bytes", (json_int_t)(s->other_bytes - whole),
		"bits_per_weight", cwe_converted_bits(made));
}

/* How many modules have codes of which grid. */
static int put_schemes(json_t *report, const struct cwe_converted *made, struct cwb_err *err)
{
	json_t *o = json_object();
	int r = 0;
	for (size_t i = 0; i < made->count && r == 0; i++) {
		char text[160];
		cwe_grid_text(&made->module[i].grid, text, sizeof text);
		r = put(o, text, json_integer(json_integer_value(json_object_get(o, text)) + 1), err);
	}
	if (r != 0) {
		json_decref(o);
		return r;
	}
	return put(report, "schemes", o, err);
}

/* What depends on the carrier. */
static int put_protection(json_t *report, const struct cwe_converted *made, struct cwb_err *err)
{
	json_t *p = json_object_get(report, "protection");
	int r = 0;
	if (!json_is_object(p)) {
		return 0;
	}
	(void)json_object_del(p, "adapter");
	(void)json_object_del(p, "kept_modules");
	if (made->adapter.modules > 0) {
		r = put(p, "adapter", cwe_adapter_json(&made->adapter), err);
	}
	if (r == 0 && json_array_size(made->kept) > 0) {
		r = put(p, "kept_modules", json_deep_copy(made->kept), err);
	}
	return r;
}

static int change(json_t *report, const struct cwe_converted *made, struct cwb_err *err)
{
	int r = put(report, "converted", json_pack("{s:s,s:s,s:s}", "from", made->from, "format", made->format, "carrier", made->carrier),
		err);
	r = r == 0 ? put(report, "size", size_json(made), err) : r;
	r = r == 0 ? put_schemes(report, made, err) : r;
	return r == 0 ? put_protection(report, made, err) : r;
}

/* *ret stays NULL where the output has none. */
static int read_report(const char *output, json_t **ret, struct cwb_err *err)
{
	char *path;
	int r;
	if (asprintf(&path, "%s/report.json", output) < 0) {
		return cwb_err_set(err, -ENOMEM, "report.json: no memory");
	}
	r = access(path, F_OK) == 0 ? cwb_json_load_file(path, MOST, CWB_JSON_DEPTH, ret, err) : 0;
	if (r == 0 && *ret != NULL && !json_is_object(*ret)) {
		r = cwb_err_set(err, CWP_EFORMAT, "%s: is %s, not an object: it is no report", path, cwb_json_type_name(*ret));
	}
	free(path);
	return r;
}

static int write_report(const struct cwe_convert_options *o, const struct cwe_converted *made, struct cwb_err *err)
{
	json_t *report = NULL;
	int r = read_report(o->output, &report, err), folder = -1;
	if (r == 0 && report != NULL) {
		r = change(report, made, err);
		folder = r == 0 ? open(o->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
		r = r == 0 && folder < 0 ? cwb_err_errno(err, "%s: cannot be opened", o->directory) : r;
		r = r == 0 ? cwe_report_write(folder, report, err) : r;
	}
	if (folder >= 0) {
		(void)close(folder);
	}
	json_decref(report);
	return r;
}

int cwe_convert(const struct cwe_convert_options *o, char ret_digest[65], struct cwb_err *err)
{
	struct cwe_convert_options with = *o;
	with.report = write_report;
	return cwe_output_convert(&with, ret_digest, err);
}
