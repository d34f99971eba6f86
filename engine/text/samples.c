/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Calibration sets: which items are taken, and what each kind makes of one. */
#include "engine/text/samples.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/text/items.h"
#include "engine/text/lines.h"
#include "engine/text/sampleset.h"

#define DEFAULT_LENGTH 512

/* One call of cwe_samples_read. */
struct builder {
	const struct cwj_set *job;
	const struct cwe_tokenizer *t;
	const struct cwe_chat *chat;
	size_t length; /* tokens of a sequence at most */
	const char *length_name;
	size_t vocabulary;
	uint64_t seed;
	struct cwe_sampleset set;
	size_t line; /* of the item at hand */
	int strict;  /* an item that does not fit is an error */
};

struct cwe_sample *cwe_sampleset_add(struct cwe_sampleset *s)
{
	if (s->set->count == s->room) {
		size_t room = s->room ? 2 * s->room : 64;
		struct cwe_sample *sample = realloc(s->set->sample, room * sizeof(*sample));
		if (!sample)
			return NULL;
		s->set->sample = sample;
		s->room = room;
	}
	struct cwe_sample *added = &s->set->sample[s->set->count++];
	*added = (struct cwe_sample){0};
	return added;
}

int cwe_sampleset_add_sequence(
	struct cwe_sampleset *s, size_t sample, struct cwe_sequence *sequence)
{
	struct cwe_sample *to = &s->set->sample[sample];
	struct cwe_sequence *grown = realloc(to->sequence, (to->count + 1) * sizeof(*grown));
	if (!grown) {
		cwe_sequence_free(sequence);
		return -ENOMEM;
	}
	to->sequence = grown;
	to->sequence[to->count++] = *sequence;
	s->set->tokens += sequence->count;
	return 0;
}

static int refuse(const struct builder *b, struct cwb_err *err, int code, const char *field,
	const char *message)
{
	return cwe_lines_refuse(err, code, b->job->path, b->line, field, "%s", message);
}

/* A sequence is done: its ids must be the model's. Takes it over. */
static int keep(struct builder *b, size_t sample, struct cwe_sequence *s, struct cwb_err *err)
{
	for (size_t i = 0; i < s->count; i++) {
		if (s->id[i] >= b->vocabulary) {
			int rc = cwe_lines_refuse(err, CWP_EVALUE, b->job->path, b->line, "",
				"the tokenizer gives id %u, but the model's ids are 0 to %zu: they "
				"do not belong together",
				(unsigned)s->id[i], b->vocabulary - 1);
			cwe_sequence_free(s);
			return rc;
		}
	}
	if (cwe_sampleset_add_sequence(&b->set, sample, s) < 0)
		return cwb_err_set(err, -ENOMEM, "%s: out of memory", b->job->path);
	return 0;
}

/* An item that does not fit is passed over. */
#define PASS 1

/* Cuts a sequence that is too long; its first token that counts must remain. */
static int cut(struct builder *b, struct cwe_sequence *s, size_t first, const char *field,
	struct cwb_err *err)
{
	if (s->count <= b->length)
		return 0;
	if (first >= b->length && !b->strict)
		return PASS;
	if (first >= b->length)
		return cwe_lines_refuse(err, CWP_ELIMIT, b->job->path, b->line, field,
			"%zu tokens leave none for the answer within %s of %zu: raise the set's "
			"length or leave the line out",
			first, b->length_name, b->length);
	s->count = b->length;
	b->set.set->truncated++;
	return 0;
}

/* Each build_* adds one sample's sequences; PASS when the item is too short to count. */
static int build_text(
	struct builder *b, const struct cwe_item_text *item, size_t sample, struct cwb_err *err)
{
	struct cwe_ids ids;
	int rc = cwe_tokenizer_encode(b->t, item->part[0], item->length[0], 1, &ids, err);
	if (rc < 0)
		return rc;
	struct cwe_sequence s = {ids.id, NULL, ids.count};
	if (s.count < 2) {
		cwe_sequence_free(&s);
		return PASS;
	}
	s.weight = calloc(s.count, sizeof(*s.weight));
	if (!s.weight) {
		cwe_sequence_free(&s);
		return cwb_err_set(err, -ENOMEM, "out of memory");
	}
	rc = cut(b, &s, 1, "", err);
	if (rc != 0) {
		cwe_sequence_free(&s);
		return rc;
	}
	cwe_sequence_weigh(&s, 1, 1);
	return keep(b, sample, &s, err);
}

/* Prompt and answer as one text: as a conversation, or with a line end where neither brings white
 * space. */
static int join_answer(const struct builder *b, const struct cwe_item_text *item, char **ret_text,
	size_t *ret_length, size_t *ret_first, struct cwb_err *err)
{
	const struct cwe_message exchange[2] = {{"user", item->part[0], item->length[0]},
		{"assistant", item->part[1], item->length[1]}};
	if (b->chat)
		return cwe_chat_exchange(b->chat, exchange, ret_text, ret_length, ret_first, err);
	size_t n = item->length[0];
	size_t between = item->separator ? strlen(item->separator) : 1;
	char *text = malloc(n + between + item->length[1]);
	if (!text)
		return cwb_err_set(err, -ENOMEM, "out of memory");
	memcpy(text, item->part[0], n);
	if (item->separator) {
		memcpy(text + n, item->separator, between);
		n += between;
	} else if (n > 0 && !strchr(" \t\r\n", text[n - 1]) &&
		   !strchr(" \t\r\n", item->part[1][0])) {
		text[n++] = '\n';
	}
	memcpy(text + n, item->part[1], item->length[1]);
	*ret_text = text;
	*ret_length = n + item->length[1];
	*ret_first = n;
	return 0;
}

static int build_answer(
	struct builder *b, const struct cwe_item_text *item, size_t sample, struct cwb_err *err)
{
	char *text;
	size_t length;
	size_t first;
	struct cwe_sequence s = {0};
	struct cwe_joint j = {.chat = b->chat != NULL};
	int rc = join_answer(b, item, &text, &length, &j.context_length, err);
	if (rc < 0)
		return rc;
	j.context = text;
	j.continuation = text + j.context_length;
	j.continuation_length = length - j.context_length;
	rc = cwe_sequence_join(b->t, &j, &s, &first, err);
	free(text);
	if (rc == 0 && first >= s.count)
		rc = refuse(b, err, CWP_EVALUE, "answer", "gives no tokens of its own");
	if (rc == 0)
		rc = cut(b, &s, first, "prompt", err);
	if (rc != 0) {
		cwe_sequence_free(&s);
		return rc;
	}
	cwe_sequence_weigh(&s, first, 1);
	return keep(b, sample, &s, err);
}

static int build_pair(
	struct builder *b, const struct cwe_item_text *item, size_t sample, struct cwb_err *err)
{
	static const char *const fields[] = {"context", "more", "less"};
	for (size_t i = 1; i < 3; i++) {
		size_t first;
		struct cwe_sequence s = {0};
		struct cwe_joint j = {
			item->part[0], item->length[0], item->part[i], item->length[i], 0};
		int rc = cwe_sequence_join(b->t, &j, &s, &first, err);
		if (rc == 0 && first >= s.count)
			rc = refuse(b, err, CWP_EVALUE, fields[i],
				"gives no tokens that could be predicted");
		if (rc == 0 && s.count > b->length && !b->strict)
			rc = PASS;
		else if (rc == 0 && s.count > b->length)
			rc = cwe_lines_refuse(err, CWP_ELIMIT, b->job->path, b->line, fields[i],
				"%zu tokens are more than %s of %zu, and a pair cannot be cut",
				s.count, b->length_name, b->length);
		if (rc != 0) {
			cwe_sequence_free(&s);
			return rc;
		}
		cwe_sequence_weigh(&s, first, i == 1 ? 1 : -1);
		rc = keep(b, sample, &s, err);
		if (rc < 0)
			return rc;
	}
	return 0;
}

typedef int build_item(
	struct builder *b, const struct cwe_item_text *item, size_t sample, struct cwb_err *err);

static build_item *const builders[] = {
	[CWE_ITEM_TEXT] = build_text,
	[CWE_ITEM_ANSWER] = build_answer,
	[CWE_ITEM_PAIR] = build_pair,
	[CWE_ITEM_REFUSAL] = build_answer,
};

static int is_sample_file(const struct cwj_set *set)
{
	return strcmp(set->data, "samples") == 0;
}

int cwe_samples_use_chat(const struct cwj_set *set)
{
	if (is_sample_file(set))
		return 0;
	enum cwe_item_kind kind = cwe_dataset_kind(set);
	return kind == CWE_ITEM_ANSWER || kind == CWE_ITEM_REFUSAL;
}

/* How many tokens a sequence may have. */
static int find_length(struct builder *b, size_t context, int is_file, struct cwb_err *err)
{
	const struct cwj_set *set = b->job;
	if (context > 0 && set->length > context) {
		if (err && err->code == 0) {
			err->line = set->line;
			err->column = set->column;
			snprintf(err->field, sizeof(err->field), "length");
		}
		return cwb_err_set(err, CWP_EVALUE,
			"calibration set \"%s\": length %llu is more than the model's context "
			"of %zu tokens",
			set->name, (unsigned long long)set->length, context);
	}
	b->length_name = "the set's length";
	b->length = set->length;
	if (b->length == 0)
		b->length = is_file ? 0 : DEFAULT_LENGTH;
	if (context > 0 && (b->length == 0 || context < b->length)) {
		b->length_name = "the model's context";
		b->length = context;
	}
	return 0;
}

static void free_sample(struct cwe_sample *s)
{
	for (size_t i = 0; i < s->count; i++)
		cwe_sequence_free(&s->sequence[i]);
	free(s->sequence);
	free(s->identity);
}

static int add_sample(struct builder *b, const struct cwe_items *items, const struct cwe_item *item,
	const struct cwe_item_text *text, struct cwb_err *err)
{
	char hex[CWB_DIGEST_HEX];
	struct cwe_sample_set *set = b->set.set;
	struct cwe_sample *sample = cwe_sampleset_add(&b->set);
	if (!sample)
		return cwb_err_set(err, -ENOMEM, "%s: out of memory", b->job->path);
	uint64_t tokens = set->tokens;
	cwb_digest_hex(item->digest, hex);
	snprintf(sample->digest, sizeof(sample->digest), "%.32s", hex);
	sample->identity = strdup(text->identity);
	if (!sample->identity)
		return cwb_err_set(err, -ENOMEM, "%s: out of memory", b->job->path);
	int rc = builders[items->kind](b, text, set->count - 1, err);
	if (rc == PASS) {
		free_sample(&set->sample[--set->count]);
		set->tokens = tokens;
		set->passed++;
		return 0;
	}
	if (rc < 0 && err && err->line == 0) {
		err->line = (int)b->line;
		cwb_err_prefix(err, "%s:%zu", b->job->path, b->line);
	}
	return rc;
}

/* Fewer samples than the job asks for. */
static int too_few(const struct builder *b, uint64_t passed, struct cwb_err *err)
{
	const struct cwj_set *set = b->job;
	char why[120] = "";
	if (passed > 0)
		snprintf(why, sizeof(why),
			"; %llu more are no items of this kind, or too long or too short",
			(unsigned long long)passed);
	if (err && err->code == 0) {
		err->line = set->line;
		err->column = set->column;
		snprintf(err->field, sizeof(err->field), "samples");
	}
	return cwb_err_set(err, CWP_EVALUE,
		"calibration set \"%s\": samples: %llu are asked for, but %s has %zu%s", set->name,
		(unsigned long long)set->samples, set->path, b->set.set->count, why);
}

static int build_items(struct builder *b, struct cwb_err *err)
{
	struct cwe_items items;
	size_t wanted = b->job->samples > 0 && b->job->samples < SIZE_MAX ? (size_t)b->job->samples
									  : SIZE_MAX;
	int rc = cwe_items_open(b->job, b->seed, &items, err);
	b->strict = items.row.own;
	b->set.set->passed = items.passed;
	for (size_t i = 0; rc == 0 && i < items.count && b->set.set->count < wanted; i++) {
		struct cwe_item_text text;
		b->line = items.item[i].line;
		rc = cwe_items_text(&items, i, &text, err);
		if (rc == 0) {
			rc = add_sample(b, &items, &items.item[i], &text, err);
			cwe_item_text_free(&text);
		}
	}
	cwe_items_close(&items);
	if (rc == 0 && b->set.set->count == 0)
		rc = cwb_err_set(err, CWP_EMISSING,
			"%s: no item has a token that could be predicted", b->job->path);
	if (rc == 0 && b->job->samples > b->set.set->count)
		rc = too_few(b, b->set.set->passed, err);
	return rc;
}

struct choice {
	struct cwe_sample sample;
	size_t number;
	uint8_t key[CWB_DIGEST_SIZE];
};

static int compare_choices(const void *a, const void *b)
{
	const struct choice *x = a;
	const struct choice *y = b;
	int order = memcmp(x->key, y->key, sizeof(x->key));
	return order != 0 ? order : x->number < y->number ? -1 : x->number > y->number;
}

/* Orders the samples of a file by key, and keeps as many as the set wants. */
static int choose(struct builder *b, struct cwb_err *err)
{
	struct cwe_sample_set *set = b->set.set;
	size_t n = set->count;
	if (b->job->samples > n)
		return too_few(b, 0, err);
	struct choice *choice = calloc(n, sizeof(*choice));
	if (!choice)
		return cwb_err_set(err, -ENOMEM, "%s: out of memory", b->job->path);
	for (size_t i = 0; i < n; i++) {
		uint8_t digest[CWB_DIGEST_SIZE] = {0};
		memcpy(digest, set->sample[i].digest, sizeof(digest));
		choice[i].sample = set->sample[i];
		choice[i].number = i;
		int rc = cwe_item_key(b->seed, b->job->name, digest, choice[i].key);
		if (rc < 0) {
			free(choice);
			return cwb_err_set(err, rc, "%s: out of memory", b->job->path);
		}
	}
	qsort(choice, n, sizeof(*choice), compare_choices);
	set->tokens = 0;
	for (size_t i = 0; i < n; i++) {
		set->sample[i] = choice[i].sample;
		if (b->job->samples > 0 && i >= b->job->samples) {
			free_sample(&set->sample[i]);
			continue;
		}
		set->count = i + 1;
		for (size_t j = 0; j < set->sample[i].count; j++)
			set->tokens += set->sample[i].sequence[j].count;
	}
	free(choice);
	return 0;
}

int cwe_samples_read(const struct cwj_set *set, const struct cwe_tokenizer *t,
	const struct cwe_chat *chat, uint64_t seed, size_t context, size_t vocabulary,
	struct cwe_sample_set *ret, struct cwb_err *err)
{
	int is_file = is_sample_file(set);
	struct cwe_sample_set made = {0};
	struct builder b = {
		.job = set, .t = t, .chat = chat, .vocabulary = vocabulary, .seed = seed};
	struct cwe_dataset row = {0};
	enum cwe_item_kind kind;
	int rc = is_file ? 0 : cwe_dataset_find(set, &row, &kind, err);
	if (rc == 0)
		rc = find_length(&b, context, is_file, err);
	if (rc < 0)
		return rc;
	b.set.set = &made;
	if (is_file) {
		rc = cwe_samplefile_read(
			set->path, b.length, b.length_name, vocabulary, &made, err);
		if (rc == 0)
			rc = choose(&b, err);
	} else if (!t) {
		rc = cwb_err_set(err, CWP_EMISSING,
			"calibration set \"%s\": data %s needs the model's tokenizer.json, which "
			"is absent; data samples does not",
			set->name, set->data);
	} else {
		rc = build_items(&b, err);
	}
	made.role = set->role;
	if (rc == 0 && !(made.name = strdup(set->name)))
		rc = cwb_err_set(err, -ENOMEM, "out of memory");
	if (rc < 0)
		cwe_samples_free(&made);
	else
		*ret = made;
	return rc;
}

int cwe_samples_read_file(const char *path, size_t context, size_t vocabulary,
	struct cwe_sample_set *ret, struct cwb_err *err)
{
	return cwe_samplefile_read(path, context, "the model's context", vocabulary, ret, err);
}

void cwe_samples_free(struct cwe_sample_set *set)
{
	for (size_t i = 0; i < set->count; i++)
		free_sample(&set->sample[i]);
	free(set->sample);
	free(set->name);
	*set = (struct cwe_sample_set){0};
}
