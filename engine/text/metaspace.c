/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Reading of Metaspace. */
#include "engine/text/metaspace.h"

#include <string.h>

#include "engine/text/component.h"
#include "engine/text/utf8.h"

static int read_scheme(
	const json_t *c, const char *place, enum cwe_metaspace_scheme *ret, struct cwb_err *err)
{
	static const char *const names[] = {[CWE_METASPACE_ALWAYS] = "always",
		[CWE_METASPACE_FIRST] = "first",
		[CWE_METASPACE_NEVER] = "never"};
	const char *name = "always";
	size_t length;
	size_t i = 0;
	int prefix = 1;
	int rc = 0;
	if (json_object_get(c, "prepend_scheme"))
		rc = cwe_component_string(c, place, "prepend_scheme", &name, &length, err);
	if (rc == 0 && !json_is_null(json_object_get(c, "add_prefix_space")))
		rc = cwe_component_flag(c, place, "add_prefix_space", 1, &prefix, err);
	if (rc < 0)
		return rc;
	while (i < sizeof(names) / sizeof(*names) && strcmp(name, names[i]) != 0)
		i++;
	if (i == sizeof(names) / sizeof(*names))
		return cwe_component_refuse(err, CWP_EUNKNOWN, place,
			"prepend_scheme \"%.40s\" is not supported", name);
	/* The reference refuses the contradiction, and without a scheme it takes "always". */
	if (!prefix && i != CWE_METASPACE_NEVER)
		return cwe_component_refuse(err, CWP_EVALUE, place,
			"\"add_prefix_space\" is false, so that \"prepend_scheme\" must be "
			"\"never\", not \"%s\"",
			name);
	*ret = (enum cwe_metaspace_scheme)i;
	return 0;
}

int cwe_metaspace_read(
	const json_t *component, const char *place, struct cwe_metaspace *ret, struct cwb_err *err)
{
	struct cwe_metaspace m = {.split = 1};
	const char *mark;
	int rc = cwe_component_string(component, place, "replacement", &mark, &m.length, err);
	if (rc < 0)
		return rc;
	if (m.length == 0 || cwe_utf8_next(mark, m.length, NULL) != m.length)
		return cwe_component_refuse(
			err, CWP_EVALUE, place, "\"replacement\" is not one character");
	memcpy(m.mark, mark, m.length);
	rc = read_scheme(component, place, &m.scheme, err);
	if (rc == 0 && !json_is_null(json_object_get(component, "split")))
		rc = cwe_component_flag(component, place, "split", 1, &m.split, err);
	if (rc < 0)
		return rc;
	*ret = m;
	return 0;
}
