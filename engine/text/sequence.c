/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Texts to token sequences with weights. */
#include "engine/text/sequence.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/text/classes.h"
#include "engine/text/utf8.h"

size_t cwe_text_without_spaces(const char *text, size_t length)
{
	const struct cwe_class *space = cwe_class_find("s", 1);
	while (length > 0) {
		uint32_t point;
		size_t start = cwe_utf8_before(text, length);
		if (cwe_utf8_next(text + start, length - start, &point) == 0 ||
			!(cwe_class_has(space, point) || (point >= 0x1c && point <= 0x1f)))
			break;
		length = start;
	}
	return length;
}

/* The sequence of prefix and ids; takes ids over. */
static int assemble(const uint32_t *prefix, size_t n, struct cwe_ids *ids, struct cwe_sequence *ret)
{
	size_t count = n + ids->count;
	uint32_t *id = malloc((count + 1) * sizeof(*id));
	float *weight = calloc(count + 1, sizeof(*weight));
	if (!id || !weight) {
		free(id);
		free(weight);
		free(ids->id);
		return -ENOMEM;
	}
	if (n > 0)
		memcpy(id, prefix, n * sizeof(*id));
	if (ids->count > 0)
		memcpy(id + n, ids->id, ids->count * sizeof(*id));
	free(ids->id);
	ret->id = id;
	ret->weight = weight;
	ret->count = count;
	return 0;
}

/* How many tokens the context alone has. */
static int count_context(
	const struct cwe_tokenizer *t, const struct cwe_joint *j, size_t *ret, struct cwb_err *err)
{
	struct cwe_ids ids;
	size_t length = j->chat ? j->context_length : cwe_text_without_spaces(j->context, j->context_length);
	int rc = cwe_tokenizer_encode(t, j->context, length, 0, &ids, err);
	if (rc < 0)
		return rc;
	free(ids.id);
	*ret = ids.count;
	return 0;
}

int cwe_sequence_join(const struct cwe_tokenizer *t, const struct cwe_joint *j,
	struct cwe_sequence *ret, size_t *ret_first, struct cwb_err *err)
{
	struct cwe_ids ids;
	size_t context = 0;
	size_t length;
	const uint32_t *prefix = NULL;
	uint32_t bos = cwe_tokenizer_bos(t) >= 0 ? (uint32_t)cwe_tokenizer_bos(t) : 0;
	if (__builtin_add_overflow(j->context_length, j->continuation_length, &length))
		return cwb_err_set(err, CWP_ELIMIT, "the text is too long");
	int rc = count_context(t, j, &context, err);
	if (rc < 0)
		return rc;
	char *text = malloc(length + 1);
	if (!text)
		return cwb_err_set(err, -ENOMEM, "out of memory for a text of %zu bytes", length);
	memcpy(text, j->context, j->context_length);
	memcpy(text + j->context_length, j->continuation, j->continuation_length);
	rc = cwe_tokenizer_encode(t, text, length, 0, &ids, err);
	free(text);
	if (rc < 0)
		return rc;
	size_t n = j->chat ? 0 : cwe_tokenizer_prefix(t, &prefix);
	if (!j->chat && n == 0 && context == 0 && cwe_tokenizer_bos(t) >= 0) {
		prefix = &bos;
		n = 1;
	}
	if (assemble(prefix, n, &ids, ret) < 0)
		return cwb_err_set(err, -ENOMEM, "out of memory for a text of %zu bytes", length);
	/* Tokens may merge across the border: then fewer remain than the context alone has. */
	size_t first = n + context;
	if (first > ret->count)
		first = ret->count;
	*ret_first = first > 0 ? first : 1;
	return 0;
}

void cwe_sequence_weigh(struct cwe_sequence *s, size_t first, double total)
{
	for (size_t i = first; i < s->count; i++)
		s->weight[i] = (float)(total / (double)(s->count - first));
}

void cwe_sequence_free(struct cwe_sequence *s)
{
	free(s->id);
	free(s->weight);
	*s = (struct cwe_sequence){0};
}
