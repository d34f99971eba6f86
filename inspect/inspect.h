/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* What the verbs of cwp-inspect share: options, an opened engine, JSON lines in and out, errors. */
#pragma once

#include <jansson.h>
#include <stdint.h>
#include <stdio.h>

#include "engine/model/model.h"
#include "engine/text/chat.h"
#include "engine/text/tokenizer.h"

#define CWI_ADAPTERS_MAX 16 /* as in a job */

struct cwi_options {
	const char *operand;  /* MODEL, OUTPUT or JOB */
	const char *second;   /* the other OUTPUT of verbs that compare */
	const char *out;
	const char *samples;
	const char *dtype;
	const char *format;   /* of convert, as in write.format and protect.carrier */
	const char *carrier;
	const char *scratch;
	const char *plugin_dir;
	struct cwe_device_choice device;
	const char *chat;     /* a chat format's name, or the path of its file; NULL: what the model shows */
	size_t n_adapters;
	char *adapters[CWI_ADAPTERS_MAX]; /* folders, merged in this order */
	int exact_inputs;     /* the inputs of quantized Linears are not quantized */
	uint32_t threads;
	uint32_t batch;       /* sequences that generate continues at once; 0: by their memory */
	uint64_t memory;      /* bytes of weights that generation keeps */
};

/* Verbs: each returns the program's exit code. */
int cwi_tokens(const struct cwi_options *o);
int cwi_logits(const struct cwi_options *o);
int cwi_loglik(const struct cwi_options *o);
int cwi_generate(const struct cwi_options *o);
int cwi_statistics(const struct cwi_options *o);
int cwi_dense(const struct cwi_options *o);
int cwi_formats(const struct cwi_options *o);
int cwi_convert(const struct cwi_options *o);
int cwi_masks(const struct cwi_options *o);
int cwi_verify(const struct cwi_options *o);
int cwi_plan(const struct cwi_options *o);

/* Prints one error line; returns the exit code of its class. */
int cwi_fail(const struct cwb_err *err);

struct cwi_engine {
	struct cwe_pool *pool;
	struct cwe_host host;
	struct cwe_registry *registry;
	struct cwe_device device;
	struct cwe_source *source;
	struct cwe_model model;
};

/* Pool, plugins, and with `model` not NULL the model on the backend of the options; outputs of ours run quantized and protected. */
int cwi_engine_open(const struct cwi_options *o, const char *model, struct cwi_engine *ret, struct cwb_err *err);
void cwi_engine_close(struct cwi_engine *e);

/* Lines of standard input: 1 and a new reference, 0 at the end, negative with the line in err. */
struct cwi_lines {
	char *text;
	size_t capacity;
	size_t number;
};
int cwi_lines_next(struct cwi_lines *l, json_t **ret, struct cwb_err *err);
void cwi_lines_free(struct cwi_lines *l);
/* An array of token ids -> malloc'd array; the field's name serves the message. */
int cwi_ids_read(const json_t *array, const char *field, size_t line, uint32_t **ret, size_t *ret_count, struct cwb_err *err);
/* What makes ids of texts. t is NULL where the model has no tokenizer: then only "ids" can come. */
struct cwi_texts {
	struct cwe_tokenizer *t;
	struct cwe_chat *chat;
	json_t *warnings; /* about the chat format; printed when the first conversation comes */
};
/* needs_tokenizer 0: a model without a tokenizer is fine. */
int cwi_texts_open(struct cwe_source *source, const char *chat, int needs_tokenizer, struct cwi_texts *ret,
	struct cwb_err *err);
void cwi_texts_close(struct cwi_texts *texts);
/* The ids of a line: "ids", "text" (with "add_special_tokens") or "messages" (with "add_generation_prompt"). */
int cwi_line_ids(const json_t *line, size_t number, struct cwi_texts *texts, struct cwe_ids *ret, struct cwb_err *err);
json_t *cwi_ids_json(const uint32_t *id, size_t count);
/* Prints one object as a line and drops it. */
void cwi_print(json_t *object);
