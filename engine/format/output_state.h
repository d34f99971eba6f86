/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* An opened output, checked: which tensors of the files make up which weight. */
#pragma once

#include "engine/format/checkpoint.h"
#include "engine/format/compressed_tensors.h"
#include "engine/format/output.h"
#include "engine/format/overlay.h"

/* One weight as the engine sees it. */
struct cwe_output_item {
	char *name;     /* of the tensor: "model.norm.weight" */
	int quantized;
	struct cwe_ct_scheme scheme;
	uint64_t rows, cols;
	const struct cwe_checkpoint_tensor *codes; /* or the tensor itself when it is not quantized */
	const struct cwe_checkpoint_tensor *scale;
	const struct cwe_checkpoint_tensor *zero;  /* NULL when symmetric */
	const struct cwe_checkpoint_tensor *shape; /* packed only */
	const struct cwe_overlay_module *overlay;  /* or NULL */
};

struct cwe_output_weights {
	struct cwe_weights base;
	struct cwe_tensor *tensor;
	struct cwe_output_item *item; /* sorted by name */
	size_t count;
	struct cwe_checkpoint *checkpoint;
	struct cwe_overlay *overlay; /* NULL when there is none */
	struct cwe_ct_config *config;
};

/* Opens everything but the operations of base. Closed with cwe_output_state_free. */
int cwe_output_state_open(const char *directory, const json_t *config, struct cwe_output_weights **ret, struct cwb_err *err);
void cwe_output_state_free(struct cwe_output_weights *o); /* NULL is allowed */
