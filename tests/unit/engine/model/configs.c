/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Configurations written in tests. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/engine/model/configs.h"

static json_t *parse(const char *text)
{
	json_error_t error;
	char *copy = strdup(text);
	assert_non_null(copy);
	for (char *at = copy; (at = strchr(at, '\'')) != NULL;) {
		*at = '"';
	}
	json_t *json = json_loads(copy, JSON_REJECT_DUPLICATES, &error);
	if (json == NULL) {
		fail_msg("%s: %s", copy, error.text);
	}
	free(copy);
	return json;
}

json_t *config_make(const char *base, const char *changes)
{
	json_t *config = parse(base), *over = parse(changes), *value;
	const char *key;
	json_object_foreach (over, key, value) {
		const char *text = json_string_value(value);
		if (text != NULL && strcmp(text, "absent") == 0) {
			(void)json_object_del(config, key);
		} else {
			(void)json_object_set(config, key, value);
		}
	}
	json_decref(over);
	return config;
}

struct cwe_arch config_read(const char *base, const char *changes)
{
	struct cwb_err err = {0};
	struct cwe_arch arch;
	json_t *config = config_make(base, changes);
	if (cwe_arch_read(config, &arch, &err) != 0) {
		fail_msg("%s %s: %s", base, changes, err.message);
	}
	json_decref(config);
	return arch;
}

void config_refused(const char *base, const char *changes, int code, const char *said, const char *also)
{
	struct cwb_err err = {0};
	struct cwe_arch arch;
	json_t *config = config_make(base, changes);
	int r = cwe_arch_read(config, &arch, &err);
	json_decref(config);
	if (r != code || err.code != code) {
		fail_msg("%s: %d, not %d: %s", changes, r, code, err.message);
	}
	if (strncmp(err.message, "config.json: ", 13) != 0 || strstr(err.message, said) == NULL ||
		(also != NULL && strstr(err.message, also) == NULL) || strchr(err.message, '\n') != NULL) {
		fail_msg("%s: %s", changes, err.message);
	}
}
