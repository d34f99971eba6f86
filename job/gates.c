/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The conditions of a file alone. */
#include <string.h>

#include "job/gates.h"
#include "job/job_table.h"

static const struct cwj_key gates_keys[] = {
	{.name = "gate",
		.kind = CWJ_LIST,
		.required = 1,
		.offset = offsetof(struct cwj_gates, gates),
		.count = offsetof(struct cwj_gates, n),
		.high = 64,
		.remedy = "write a list of conditions, such as - {metric: bias.flips, at-most: 0.05}",
		.table = &cwj_gate_table},
	{0},
};
static const struct cwj_table gates_table = {.keys = gates_keys, .size = sizeof(struct cwj_gates)};

int cwj_gates_parse(const char *text, size_t length, struct cwj_gates *ret, struct cwb_err *err)
{
	struct cwb_err own = {0};
	struct cwj_reader r = {.directory = "/", .err = err != NULL && err->code == 0 ? err : &own};
	struct cwj_gates gates = {0};
	struct cwj_yaml *tree = NULL;

	int rc = cwj_yaml_parse(text, length, &tree, r.err);
	if (rc < 0) {
		return rc;
	}
	/* A mapping of that key alone, with the file's own places. */
	struct cwj_yaml part = *tree;
	part.count = 0;
	for (size_t i = 0; tree->kind == CWJ_YAML_MAPPING && i < tree->count; i++) {
		if (tree->keys[i]->text != NULL && strcmp(tree->keys[i]->text, "gate") == 0) {
			part.keys = &tree->keys[i];
			part.values = &tree->values[i];
			part.count = 1;
		}
	}
	rc = cwj_table_read(&r, &gates_table, &part, &gates);
	if (rc == 0 && gates.n == 0) {
		rc = cwj_fail_missing(&r, &part, "gate", gates_keys[0].remedy);
	}
	cwj_yaml_free(tree);
	if (rc < 0) {
		cwj_gates_free(&gates);
		return rc;
	}
	*ret = gates;
	return 0;
}

void cwj_gates_free(struct cwj_gates *gates)
{
	cwj_table_free(&gates_table, gates);
}
