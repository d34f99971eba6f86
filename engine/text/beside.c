/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Opens a model's tokenizer and chat format. */
#include <stdlib.h>

#include "engine/text/beside.h"

int cwe_tokenizer_beside(struct cwe_source *source, struct cwe_tokenizer **ret, struct cwe_chat **ret_chat,
	struct cwb_err *err)
{
	char *json = NULL, *config = NULL;
	size_t length = 0, config_length = 0;
	struct cwe_tokenizer *t = NULL;
	struct cwb_err optional = {0};
	int r = cwe_source_text(source, "tokenizer.json", &json, &length, err);
	if (r == 0 && (r = cwe_source_text(source, "tokenizer_config.json", &config, &config_length, &optional)) != 0) {
		config = NULL;
		r = r == CWP_EMISSING ? 0 : cwb_err_set(err, r, "%s", optional.message);
	}
	r = r == 0 ? cwe_tokenizer_new(json, length, config, config_length, &t, err) : r;
	r = r == 0 && ret_chat != NULL ? cwe_chat_find(t, config, config_length, ret_chat, err) : r;
	free(json);
	free(config);
	if (r != 0) {
		cwe_tokenizer_free(t);
		(void)cwb_err_prefix(err, "%s", source->path);
		return r;
	}
	*ret = t;
	return 0;
}
