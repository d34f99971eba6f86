/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* CWE_OP(device, operation, arguments...): calls a backend operation, with `err` of the calling function. */
#pragma once

#include "engine/model/device.h"

#define CWE_OP(d, operation, ...)                                                                          \
	cwe_device_check((d), #operation, (d)->ops->operation((d)->b, ##__VA_ARGS__), err)
