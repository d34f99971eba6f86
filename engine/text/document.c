/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* One pass over tokenizer.json that finds its parts. */
#include "engine/text/document.h"

#include <errno.h>
#include <string.h>

#include "base/json.h"

#define FILE_LIMIT ((size_t)256 << 20)
#define COMPONENTS_LIMIT ((size_t)8 << 20) /* together; the largest seen have half a megabyte */
#define MEMBERS 256                        /* of the file, and of its model */

struct reader {
	struct cwb_json_stream stream;
	struct cwe_document *out;
	size_t taken;	     /* bytes of the text that became values */
	struct cwb_err *err; /* never NULL */
};

static int no_memory(struct reader *r)
{
	return cwb_err_set(r->err, -ENOMEM, "out of memory");
}

/* The value that begins with item as JSON; NULL after an error. */
static json_t *take(struct reader *r, const struct cwb_json_item *item)
{
	json_t *json = NULL;
	switch (item->event) {
	case CWB_JSON_OBJECT:
	case CWB_JSON_ARRAY:
		if (cwb_json_stream_skip(&r->stream, NULL, NULL, r->err) == 0)
			(void)cwb_json_load_part(r->stream.text, item->start, r->stream.at,
				COMPONENTS_LIMIT - r->taken, CWB_JSON_DEPTH, &json, r->err);
		r->taken += json ? r->stream.at - item->start : 0;
		return json;
	case CWB_JSON_STRING:
		json = json_stringn(item->text, item->length);
		break;
	case CWB_JSON_INTEGER:
		json = json_integer(item->integer);
		break;
	case CWB_JSON_REAL:
		json = json_real(item->real);
		break;
	case CWB_JSON_TRUE:
	case CWB_JSON_FALSE:
		json = json_boolean(item->event == CWB_JSON_TRUE);
		break;
	default:
		json = json_null();
		break;
	}
	if (!json)
		(void)no_memory(r);
	return json;
}

static int pass(struct reader *r, const struct cwb_json_item *item, struct cwe_section *section)
{
	struct cwe_section passed = {
		.text = r->stream.text, .start = item->start, .event = item->event};
	int rc = 0;
	if (item->event == CWB_JSON_OBJECT || item->event == CWB_JSON_ARRAY)
		rc = cwb_json_stream_skip(&r->stream, &passed.count, &passed.bytes, r->err);
	passed.end = r->stream.at;
	if (rc == 0 && section)
		*section = passed;
	return rc;
}

static int read_members(struct reader *r, json_t *to, int is_model);

/* The value of one member: into to, into a section, or nowhere. */
static int read_value(struct reader *r, json_t *to, const char *key, int is_model)
{
	static const char *const small[] = {
		"normalizer", "pre_tokenizer", "post_processor", "decoder", "model"};
	struct cwb_json_item item;
	int kept = is_model;
	int rc = cwb_json_stream_next(&r->stream, &item, r->err);
	if (rc < 0)
		return rc;
	if (is_model && strcmp(key, "vocab") == 0)
		return pass(r, &item, &r->out->vocab);
	if (is_model && strcmp(key, "merges") == 0)
		return pass(r, &item, &r->out->merges);
	if (!is_model && strcmp(key, "added_tokens") == 0)
		return pass(r, &item, &r->out->added_tokens);
	for (size_t i = 0; i < sizeof(small) / sizeof(*small) && !kept; i++)
		kept = strcmp(key, small[i]) == 0;
	if (!kept)
		return pass(r, &item, NULL);
	int inner = !is_model && strcmp(key, "model") == 0 && item.event == CWB_JSON_OBJECT;
	json_t *value = inner ? json_object() : take(r, &item);
	if (!value || json_object_set_new(to, key, value) < 0)
		return r->err->code ? r->err->code : no_memory(r);
	return inner ? read_members(r, value, 1) : 0;
}

/* The members of the file, or of its model, up to the bracket that ends them. */
static int read_members(struct reader *r, json_t *to, int is_model)
{
	struct cwb_json_item item;
	int rc;
	json_t *seen = json_object();
	while ((rc = seen ? cwb_json_stream_next(&r->stream, &item, r->err) : no_memory(r)) ==
		CWB_JSON_KEY) {
		json_t *name = json_stringn(item.text, item.length);
		const char *key = json_string_value(name);
		if (!name)
			rc = no_memory(r);
		else if (json_object_get(seen, key))
			rc = cwb_json_stream_fail(
				r->stream.text, item.start, r->err, "a key that is there twice");
		else if (json_object_size(seen) == MEMBERS)
			rc = cwb_err_set(r->err, CWP_ELIMIT, "%s has more than %d members",
				is_model ? "model" : "tokenizer.json", MEMBERS);
		else if (json_object_set_new(seen, key, json_null()) < 0)
			rc = no_memory(r);
		else
			rc = read_value(r, to, key, is_model);
		json_decref(name);
		if (rc < 0)
			break;
	}
	json_decref(seen);
	return rc < 0 ? rc : 0;
}

int cwe_document_read(
	const char *text, size_t length, struct cwe_document *ret, struct cwb_err *err)
{
	struct cwb_err inner = {0};
	struct cwb_json_item item;
	struct cwe_document out = {.root = json_object()};
	struct reader r = {.out = &out, .err = &inner};
	cwb_json_stream_open(&r.stream, text, 0, length, CWB_JSON_DEPTH);
	int rc = out.root ? 0 : no_memory(&r);
	if (rc == 0 && length > FILE_LIMIT)
		rc = cwb_err_set(&inner, CWP_ELIMIT, "a text of %zu bytes, at most %zu are allowed",
			length, FILE_LIMIT);
	if (rc == 0)
		rc = cwb_json_stream_next(&r.stream, &item, &inner);
	if (rc == CWB_JSON_ARRAY && (rc = cwb_json_stream_skip(&r.stream, NULL, NULL, &inner)) == 0)
		rc = cwb_err_set(&inner, CWP_EVALUE, "tokenizer.json is not an object");
	if (rc == CWB_JSON_OBJECT)
		rc = read_members(&r, out.root, 0);
	if (rc == 0)
		rc = cwb_json_stream_next(&r.stream, &item, &inner);
	cwb_json_stream_close(&r.stream);
	if (rc < 0) {
		cwe_document_free(&out);
		if (err && err->code == 0)
			*err = inner;
		return rc;
	}
	*ret = out;
	return 0;
}

void cwe_document_free(struct cwe_document *d)
{
	json_decref(d->root);
	*d = (struct cwe_document){0};
}

int cwe_section_open(
	const struct cwe_section *section, struct cwb_json_stream *s, struct cwb_err *err)
{
	struct cwb_json_item item;
	cwb_json_stream_open(s, section->text, section->start, section->end, CWB_JSON_DEPTH);
	int rc = cwb_json_stream_next(s, &item, err);
	if (rc < 0)
		cwb_json_stream_close(s);
	return rc < 0 ? rc : 0;
}
