/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Requests of evaluators that generate text: all of a benchmark's together. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "engine/model/generate.h"
#include "engine/pipeline/benchmark.h"
#include "engine/pipeline/device.h"
#include "engine/text/ends.h"

#define MEMORY (1ull << 30) /* for caches, and for weights that stay, where no limit says otherwise */

struct texts;

/* One request. */
struct text {
	struct texts *list;
	uint64_t number;  /* of the request */
	uint64_t tokens;  /* of the prompt, and new ones at most */
	struct cwe_ids prompt;
	struct cwe_stop *stop;
	struct cwp_answer *answer;
	int stopped;                /* a stop string did */
};

struct texts {
	struct text *text;            /* [count] */
	struct cwe_generation *what;  /* [count] */
	size_t count;
	struct cwe_ids ends;          /* tokens that end what the model says */
	void (*ended)(void *arg, uint64_t tokens);
	void *arg;
	const struct text *broken;    /* one that got what is no number, and its tokens so far */
	struct cwe_ids seen;
};

int cwe_benchmark_prompt_ids(struct cwe_run *run, const struct cwp_request *q, struct cwe_ids *ret, int *ret_fits,
	struct cwb_err *err)
{
	uint64_t context = run->model.arch.context;
	char *chat = NULL;
	size_t length = 0;
	int r = cwe_benchmark_prompt(run, q, &chat, &length, err);
	r = r == 0 ? cwe_request_prompt_ids(run->tokenizer, chat != NULL ? chat : q->context, chat != NULL ? length : q->context_length,
			     ret, err)
		   : r;
	*ret_fits = r == 0 && ret->count <= context && q->max_new_tokens <= context - ret->count;
	free(chat);
	return r;
}

int cwe_benchmark_stop(const struct cwe_tokenizer *t, const struct cwp_request *q, struct cwe_stop **ret, struct cwb_err *err)
{
	struct cwe_stop_string string[CWE_STOP_STRINGS];
	for (size_t i = 0; i < q->stops; i++) { /* not more than these: cwe_benchmark_request */
		string[i] = (struct cwe_stop_string){q->stop[i], strlen(q->stop[i])};
	}
	return cwe_stop_new(t, string, q->stops, ret, err);
}

static int token(void *arg, const uint32_t *id, uint64_t count, int *ret_end, struct cwb_err *err)
{
	struct text *x = arg;
	int r = cwe_stop_seen(x->stop, id, count, ret_end, err);
	x->stopped |= r == 0 && *ret_end;
	return r;
}

static int is_ended(const struct text *x, const uint32_t *id, uint64_t count)
{
	int found = x->stopped;
	for (size_t i = 0; count > 0 && i < x->list->ends.count; i++) {
		found |= x->list->ends.id[i] == id[count - 1];
	}
	return found;
}

static int done(void *arg, const uint32_t *id, uint64_t count, struct cwb_err *err)
{
	struct text *x = arg;
	char *text = NULL;
	size_t length = 0;
	int r = cwe_stop_text(x->stop, id, count, &text, &length, err);
	if (r == 0) {
		free((char *)(uintptr_t)x->answer->text);
		x->answer->text = text;
		x->answer->text_length = length;
		x->answer->tokens = count;
		x->answer->flags |= is_ended(x, id, count) ? CWP_ANSWER_ENDED : 0;
		x->list->ended(x->list->arg, x->tokens);
	}
	return r;
}

/* What is no number is looked for after the generator has given its memory back. */
static int broken(void *arg, const uint32_t *id, uint64_t count, struct cwb_err *err)
{
	struct text *x = arg;
	struct cwe_ids *seen = &x->list->seen;
	seen->count = x->prompt.count + count;
	seen->id = malloc(seen->count * sizeof *seen->id);
	if (seen->id == NULL) {
		return cwb_err_set(err, -ENOMEM, "no memory for a prompt");
	}
	memcpy(seen->id, x->prompt.id, x->prompt.count * sizeof *id);
	if (count > 0) {
		memcpy(seen->id + x->prompt.count, id, count * sizeof *id);
	}
	x->list->broken = x;
	return cwb_err_set(err, CWP_ENUMBER, "NaN or infinity");
}

static int add(struct cwe_run *run, const struct cwp_request *q, uint64_t number, struct cwp_answer *answer, struct texts *list,
	struct cwb_err *err)
{
	struct text *x = &list->text[list->count];
	int fits;
	*x = (struct text){.list = list, .number = number, .answer = answer};
	int r = cwe_benchmark_prompt_ids(run, q, &x->prompt, &fits, err);
	r = r == 0 ? cwe_benchmark_stop(run->tokenizer, q, &x->stop, err) : r;
	x->tokens = x->prompt.count + q->max_new_tokens;
	list->what[list->count++] = (struct cwe_generation){.prompt = x->prompt.id, .count = x->prompt.count,
		.max_new = q->max_new_tokens, .stop = list->ends.id, .stops = list->ends.count, .arg = x, .token = token, .broken = broken, .done = done};
	return r;
}

/* Longest first: sequences that are at work together are of about one length, and the last ones are short. */
static int by_length(const void *a, const void *b)
{
	const struct cwe_generation *x = a, *y = b;
	uint64_t m = x->count + x->max_new, n = y->count + y->max_new;
	return m != n ? (m < n) - (m > n) : (x->arg > y->arg) - (x->arg < y->arg);
}

static int add_all(struct cwe_run *run, struct cwe_benchmark *b, const struct cwe_model *model, struct texts *list,
	struct cwb_err *err)
{
	list->text = calloc(b->generations, sizeof *list->text);
	list->what = calloc(b->generations, sizeof *list->what);
	if (list->text == NULL || list->what == NULL) {
		return cwb_err_set(err, -ENOMEM, "no memory for %" PRIu64 " prompts", b->generations);
	}
	int r = cwe_end_tokens(model->source, run->tokenizer, &list->ends, err);
	for (uint64_t i = 0; r == 0 && i < b->count; i++) {
		struct cwp_request q = {0};
		if (b->judged[i] != b->judging) {
			continue;
		}
		if ((r = cwe_benchmark_request(run, b, i, &q, err)) == 0 && q.kind == CWP_REQUEST_GENERATE && !b->too_long[i]) {
			/* Requests stay what they were when they were counted. */
			r = list->count < b->generations ? add(run, &q, i, &b->answer[i], list, err)
				: cwb_err_set(err, CWP_EPLUGIN, "plugin '%s': more requests generate text than before; report it to the "
					"plugin's vendor", b->job->benchmark);
		}
	}
	qsort(list->what, list->count, sizeof *list->what, by_length);
	return r;
}

/* On a GPU weights that stay count more than sequences at a time. */
static int take_gpu(const struct cwe_run *run, const struct cwe_model *model, const struct texts *list,
	struct cwe_generator_size *ret, uint64_t *ret_resident, struct cwb_err *err)
{
	const struct cwe_arch *a = &model->arch;
	uint64_t idle = cwe_run_gpu_free(run, model->device);
	uint64_t all = a->layers * cwe_layer_bytes(model) + (uint64_t)a->vocabulary * a->hidden * sizeof(float);
	cwe_generator_fit(model, list->what, list->count, CWE_GENERATOR_SLOTS, idle > all ? idle - all : idle / 4, ret);
	uint64_t least = cwe_generator_bytes(model, ret);
	*ret_resident = least < idle ? idle - least : 0;
	return cwe_run_gpu_take(run, model->device, least, "generating text", err);
}

/* How many sequences at a time, which weights may stay in memory, and the bound that this makes: what no plan could know. */
static int take_memory(struct cwe_run *run, const struct cwe_model *model, const struct texts *list,
	struct cwe_generator_size *ret, uint64_t *ret_resident, struct cwb_err *err)
{
	if (cwe_device_remote(model->device)) {
		return take_gpu(run, model, list, ret, ret_resident, err);
	}
	uint64_t limit = run->job->limits.memory, base = cwe_run_base_memory(run);
	uint64_t free_memory = limit == 0 ? MEMORY : limit > base ? limit - base : 0;
	cwe_generator_fit(model, list->what, list->count, CWE_GENERATOR_SLOTS, free_memory, ret);
	uint64_t least = base + cwe_generator_bytes(model, ret);
	if (limit > 0 && least > limit) {
		return cwb_err_set(err, CWP_ELIMIT, "limits.memory is %" PRIu64 " bytes, but generating text may need %" PRIu64
			": raise it, or leave the benchmark out", limit, least);
	}
	*ret_resident = limit > 0 ? limit - least : MEMORY;
	run->bounds.memory = least + *ret_resident > run->bounds.memory ? least + *ret_resident : run->bounds.memory;
	return 0;
}

int cwe_benchmark_generate(struct cwe_benchmark *b, struct cwe_run *run, struct cwe_model *model,
	void (*ended)(void *arg, uint64_t tokens), void *arg, struct cwb_err *err)
{
	struct texts list = {.ended = ended, .arg = arg};
	struct cwe_generator_size size;
	struct cwe_generator *g = NULL;
	uint64_t resident = 0;
	if (b->generations == 0) {
		return 0;
	}
	int r = add_all(run, b, model, &list, err);
	r = r == 0 ? take_memory(run, model, &list, &size, &resident, err) : r;
	r = r == 0 ? cwe_generator_new(model, &size, resident, &g, err) : r;
	r = r == 0 ? cwe_generator_run(g, list.what, list.count, err) : r;
	cwe_generator_free(g);
	if (r == CWP_ENUMBER && list.broken != NULL) {
		cwb_err_clear(err);
		r = cwe_benchmark_broken(run, b, list.broken->number, model, list.seen.id, list.seen.count, err);
	}
	free(list.seen.id);
	for (size_t i = 0; i < list.count; i++) {
		free(list.text[i].prompt.id);
		cwe_stop_free(list.text[i].stop);
	}
	free(list.text);
	free(list.what);
	free(list.ends.id);
	return r;
}
