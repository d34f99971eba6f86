/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a GGUF file: it is refused with a reason, or its texts are made and every weight of it can be read. */
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "engine/format/gguf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(int rc, const struct cwb_err *err)
{
	if (rc > 0 || (rc && (rc != err->code || !err->message[0])))
		abort();
}

static void make_text(const struct cwe_gguf *g, int (*make)(const struct cwe_gguf *, json_t **, struct cwb_err *))
{
	struct cwb_err err = {0};
	json_t *json = NULL;

	check(make(g, &json, &err), &err);
	json_decref(json);
}

static void read_weights(struct cwe_gguf *g)
{
	struct cwe_weights *w = NULL;
	struct cwb_err err = {0};
	int rc = cwe_gguf_weights_new(g, 0, &w, &err);

	check(rc, &err);
	if (rc)
		return;
	for (size_t i = 0; i < w->count; i++) {
		const struct cwe_tensor *t = &w->tensors[i];
		uint64_t n = t->shape[0] * (t->rank == 2 ? t->shape[1] : 1);
		float *values = malloc(n * sizeof *values);

		if (!values || cwe_weights_find(w, t->name) == NULL || cwe_weights_read_f32(w, t, 0, t->shape[0], values, &err) ||
			cwe_weights_read_raw(w, t, 0, t->shape[0], values, &err))
			abort();
		free(values);
	}
	cwe_weights_close(w);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct cwe_gguf *g = NULL;
	struct cwb_err err = {0};
	int fd = memfd_create("fuzz", MFD_CLOEXEC), rc;

	if (fd < 0 || write(fd, data, size) != (ssize_t)size)
		abort();
	rc = cwe_gguf_adopt(fd, "fuzz", &g, &err);
	check(rc, &err);
	if (rc)
		return 0;
	make_text(g, cwe_gguf_config);
	make_text(g, cwe_gguf_generation_config);
	make_text(g, cwe_gguf_tokenizer);
	make_text(g, cwe_gguf_tokenizer_config);
	read_weights(g);
	cwe_gguf_close(g);
	return 0;
}
