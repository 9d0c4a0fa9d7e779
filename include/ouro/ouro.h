/* ouro/ouro.h: the whole public interface. */
#ifndef OURO_OURO_H
#define OURO_OURO_H

#include <ouro/alloc.h>
#include <ouro/gc.h>
#include <ouro/object.h>
#include <ouro/stats.h>
#include <ouro/thread.h>
#include <ouro/trace.h>
#include <ouro/version.h>
#include <ouro/weakref.h>

#endif
