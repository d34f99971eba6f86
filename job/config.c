/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Text or file -> checked configuration, and its JSON. */
#include <errno.h>
#include <stdlib.h>

#include "job/config_table.h"
#include "job/document.h"

int cwj_config_parse(const char *text, size_t length, const char *directory,
	struct cwj_config **ret, struct cwb_err *err)
{
	struct cwj_config *config = calloc(1, sizeof(*config));

	if (config == NULL) {
		return cwb_err_set(err, -ENOMEM, "no memory for the configuration");
	}
	int rc = cwj_document_parse(
		text, length, directory, &cwj_config_table, CWJ_DOCUMENT_MAY_BE_EMPTY, config, err);
	if (rc < 0) {
		cwj_config_free(config);
		return rc;
	}
	*ret = config;
	return 0;
}

int cwj_config_read(const char *path, struct cwj_config **ret, struct cwb_err *err)
{
	struct cwj_config *config = calloc(1, sizeof(*config));

	if (config == NULL) {
		return cwb_err_set(err, -ENOMEM, "no memory for the configuration");
	}
	int rc = cwj_document_read(path, &cwj_config_table, CWJ_DOCUMENT_MAY_BE_EMPTY, config, err);
	if (rc < 0) {
		cwj_config_free(config);
		return rc;
	}
	*ret = config;
	return 0;
}

void cwj_config_free(struct cwj_config *config)
{
	if (config != NULL) {
		cwj_table_free(&cwj_config_table, config);
		free(config);
	}
}

json_t *cwj_config_json(const struct cwj_config *config)
{
	return cwj_table_json(&cwj_config_table, config);
}
