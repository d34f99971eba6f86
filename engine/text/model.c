/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The types of tokenizer.json's model. */
#include "engine/text/model.h"

#include <string.h>

#include "engine/text/component.h"

int cwe_text_model_read(
	const struct cwe_document *d, struct cwe_text_model *ret, struct cwb_err *err)
{
	const char *type = "BPE"; /* files of old versions leave it out */
	const json_t *model = json_object_get(d->root, "model");
	*ret = (struct cwe_text_model){NULL, NULL};
	if (!model)
		return cwe_component_refuse(
			err, CWP_EMISSING, "", "tokenizer.json has no \"model\"");
	if (!json_is_object(model))
		return cwe_component_refuse(err, CWP_EVALUE, "model", "not an object");
	if (json_object_get(model, "type") || d->merges.event == CWB_JSON_END) {
		int rc = cwe_component_type(model, "model", &type, err);
		if (rc < 0)
			return rc;
	}
	if (strcmp(type, "BPE") == 0)
		return cwe_bpe_new(d, &ret->bpe, err);
	if (strcmp(type, "Unigram") == 0)
		return cwe_unigram_new(d, &ret->unigram, err);
	return cwe_component_unknown("model", type, err);
}

void cwe_text_model_free(struct cwe_text_model *m)
{
	cwe_bpe_free(m->bpe);
	cwe_unigram_free(m->unigram);
	*m = (struct cwe_text_model){NULL, NULL};
}

void cwe_text_model_finish(struct cwe_text_model *m)
{
	if (m->bpe)
		cwe_bpe_finish(m->bpe);
}

const struct cwe_vocabulary *cwe_text_model_vocabulary(const struct cwe_text_model *m)
{
	return m->bpe ? cwe_bpe_vocabulary(m->bpe) : cwe_unigram_vocabulary(m->unigram);
}

int cwe_text_model_encode(const struct cwe_text_model *m, const char *text, size_t length,
	int bytes, struct cwe_text_work *work, struct cwe_idlist *list, struct cwb_err *err)
{
	return m->bpe ? cwe_bpe_encode(m->bpe, text, length, bytes, &work->bpe, list, err)
		      : cwe_unigram_encode(m->unigram, text, length, &work->unigram, list, err);
}

void cwe_text_work_free(struct cwe_text_work *w)
{
	cwe_bpe_work_free(&w->bpe);
	cwe_unigram_work_free(&w->unigram);
}

void cwe_text_work_trim(struct cwe_text_work *w)
{
	cwe_bpe_work_trim(&w->bpe);
	cwe_unigram_work_trim(&w->unigram);
}
