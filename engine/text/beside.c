/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Opens a model's tokenizer, and finds its chat format. */
#include <stdlib.h>

#include "engine/text/beside.h"

/* A text that a source need not have: NULL then. */
static int optional_text(struct cwe_source *source, const char *name, char **ret, size_t *ret_length, struct cwb_err *err)
{
	struct cwb_err own = {0};
	*ret = NULL;
	*ret_length = 0;
	int r = cwe_source_text(source, name, ret, ret_length, &own);
	return r == 0 || r == CWP_EMISSING ? 0 : cwb_err_set(err, r, "%s", own.message);
}

int cwe_tokenizer_beside(struct cwe_source *source, struct cwe_tokenizer **ret, struct cwb_err *err)
{
	char *json = NULL, *config = NULL;
	size_t length = 0, config_length = 0;
	int r = cwe_source_text(source, "tokenizer.json", &json, &length, err);
	r = r == 0 ? optional_text(source, "tokenizer_config.json", &config, &config_length, err) : r;
	/* What the source itself says names its path. */
	if (r == 0 && (r = cwe_tokenizer_take(&json, length, config, config_length, ret, err)) != 0) {
		(void)cwb_err_prefix(err, "%s", source->path);
	}
	free(json);
	free(config);
	return r;
}

int cwe_chat_beside(struct cwe_source *source, const struct cwe_chat_question *question, struct cwe_chat **ret,
	struct cwb_err *err)
{
	struct cwe_chat_question q = *question;
	char *template = NULL, *config = NULL;
	size_t length, config_length;
	int r = optional_text(source, "chat_template.jinja", &template, &length, err);
	if (r == 0 && template == NULL) {
		r = optional_text(source, "tokenizer_config.json", &config, &config_length, err);
		if (r == 0 && config != NULL && (r = cwe_chat_template(config, config_length, &template, err)) != 0) {
			(void)cwb_err_prefix(err, "%s", source->path);
		}
	}
	if (r == 0) {
		q.template = template;
		r = cwe_chat_find(&q, ret, err);
	}
	free(template);
	free(config);
	return r;
}
