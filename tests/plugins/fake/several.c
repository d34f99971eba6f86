/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Several handles of the checking backend, each with a thread. */
#include <errno.h>
#include <stdlib.h>

#include "tests/plugins/fake/fake.h"

int fake_enter(void *vb)
{
	struct fake *b = vb;
	(void)pthread_mutex_lock(&b->lock);
	b->owner = pthread_self();
	(void)pthread_mutex_unlock(&b->lock);
	return 0;
}

/* What is behind d_x of one handle: of the first one an operation as any other; the others' threads wait. */
static void *take(struct fake *b, int first, void *d_x, uint64_t bytes, int *code)
{
	struct fake_access a = first ? fake_begin(b, "reduce") : (struct fake_access){.b = b, .op = "reduce"};
	void *x = first ? fake_write(&a, d_x, bytes) : fake_read(&a, d_x, bytes);
	*code = *code != 0 ? *code : a.code;
	return x;
}

int fake_reduce(void *const *b, uint32_t n, uint32_t kind, void *const *d_x, uint64_t count)
{
	uint64_t bytes = count * (kind == CWP_REDUCE_SUM_F64 || kind == CWP_REDUCE_SUM_U64 ? 8 : 4);
	void **x = calloc(n + 1, sizeof *x);
	int code = x != NULL ? 0 : -ENOMEM;
	for (uint32_t k = 0; x != NULL && k < n; k++) {
		x[k] = take(b[k], k == 0, d_x[k], bytes, &code);
	}
	void *const cpu = n > 0 ? ((struct fake *)b[0])->cpu : NULL;
	if (code == 0) {
		/* The CPU backend asks nothing of the handles but the first one. */
		code = cpu_reduce(&cpu, n, kind, x, count);
	}
	free(x);
	return code;
}
