/* libcuda.so.1 without a GPU, under which NVIDIA's own cuda-core and PyCUDA run.

   Device memory is the host's; no address is given out twice. Work that is put into a stream
   waits there until somebody waits for it, so whoever reads too early reads what was there
   before. Every piece of work knows what has to be done before it (a clock for each stream):
   two that use the same bytes, one of them writing, with no event between them, are a mistake
   whatever their order was. What no program may do is noted in words for `driver.py`. */
#define _GNU_SOURCE
#include <cuda.h>
#include <dlfcn.h>
#include <elf.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { STREAMS = 64, CONTEXTS = 8, PARAMETERS = 64, ARENA = 36, ALIGNMENT = 512, GUARD = 4096 };
enum { COPY, FILL, KERNEL, CALL_HOST, WAIT, FREE };
typedef unsigned Clock[STREAMS];
typedef struct Kernel {
    struct Kernel *next;
    char name[128];
    int shared, count;
    size_t sizes[PARAMETERS];
} Kernel;
typedef struct Library { struct Library *next; Kernel *kernels; } Library;
typedef struct Work {
    struct Work *next;
    int kind;
    CUdeviceptr to, from;
    size_t size;
    unsigned char value;
    Kernel *kernel;
    unsigned grid[3], block[3];
    char values[8 * PARAMETERS];
    CUhostFn function;
    void *data;
    struct CUstream_st *other;
    unsigned until;
    Clock clock;
} Work;
struct CUgraph_st { Work *first, **end; bool broken; pthread_t thread; CUstreamCaptureMode mode; };
struct CUgraphExec_st { Work *first; int test; };
struct CUstream_st {
    unsigned slot, flags, done, issued;
    bool busy;
    Clock clock;
    Work *first, **end;
    CUgraph graph;
    long at; /* made time, at which all that was issued is done */
};
struct CUevent_st { CUstream stream; unsigned until; Clock clock; CUgraph graph; long at; };
struct CUctx_st { int is_primary; };
typedef struct Access { unsigned slot, at; size_t start, end; bool writes; } Access;
typedef struct Block {
    struct Block *next;
    CUdeviceptr start;
    size_t size;
    bool on_host, given_back, gone, forgotten;
    int count;
    Access accesses[64];
} Block;

static pthread_mutex_t lock = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;
static bool present;
static int version = 13050, capability = 89, lost;
static size_t total = 1 << 30, used, reserved, threshold;
static long pinned, execs, captures, launches;
static int test;
static struct CUctx_st primary = {1};
static __thread CUcontext current[CONTEXTS];
static __thread int depth;
static struct CUstream_st legacy = {.end = &legacy.first};
static CUstream streams[STREAMS] = {&legacy};
static Clock host;
static Block *blocks;
static char *arena, *top;
static Work *running;
static CUgraph capturing;
static long copy_costs, network_costs, free_at[3]; /* engines: up, down, networks */
static size_t least_copy;
static __thread long now; /* made time of a thread of the host */
static struct { char name[64]; int nth, code; } fault;
static const char *calls[1 << 16];
static int called;
static char mistakes[1 << 14];
static void (*run_kernel)(const char *, const unsigned *, const unsigned *, const char *);

/* What a program did that it may not do. */
static CUresult mistake(CUresult code, const char *format, ...) {
    size_t length = strlen(mistakes);
    if (length > sizeof mistakes - 256) return code; /* enough is said */
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(mistakes + length, sizeof mistakes - length - 1, format, arguments);
    va_end(arguments);
    strcat(mistakes, "\n");
    return code;
}

static void unlock(const int *held) { (void)held; pthread_mutex_unlock(&lock); }

/* The code that a call has to fail with, before it does anything. */
static CUresult enter(const char *name, bool needs_context) {
    if (called < (int)(sizeof calls / sizeof *calls)) calls[called++] = name;
    if (!present && !strncmp(name, "cuInit", 6)) return CUDA_ERROR_NO_DEVICE;
    if (lost) return lost;
    if (!strncmp(name, fault.name, strlen(fault.name)) && *fault.name && !--fault.nth) {
        *fault.name = 0;
        return fault.code;
    }
    return needs_context && !(depth && current[depth - 1]) ? CUDA_ERROR_INVALID_CONTEXT : 0;
}

#define BEGIN(needs_context) \
    __attribute__((cleanup(unlock), unused)) int held = pthread_mutex_lock(&lock); \
    CUresult refused = enter(__func__, needs_context); \
    if (refused) return refused
#define CALL BEGIN(false)
#define WORK BEGIN(true)

/* What may not be called by the thread that captures a graph; the capture is lost. */
static CUresult outside_capture(const char *what) {
    if (!capturing || !pthread_equal(capturing->thread, pthread_self())) return 0;
    if (capturing->mode == CU_STREAM_CAPTURE_MODE_RELAXED) return 0;
    capturing->broken = true;
    return mistake(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, "%s in a capture", what);
}
#define OUTSIDE_CAPTURE(what) do { CUresult code = outside_capture(what); if (code) return code; } while (0)

/* --- memory --- */

static Block *find(CUdeviceptr address) {
    for (Block *block = blocks; block; block = block->next)
        if (block->start <= address && address < block->start + block->size + !block->size) return block;
    return NULL;
}

static CUresult allocate(CUdeviceptr *address, size_t size, bool on_host) {
    OUTSIDE_CAPTURE("memory is allocated");
    if (!size) return CUDA_ERROR_INVALID_VALUE;
    if (!on_host && used + size > total) return CUDA_ERROR_OUT_OF_MEMORY;
    if (!arena) {
        top = arena = mmap(NULL, 1ul << ARENA, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (arena == MAP_FAILED) abort();
    }
    if (top + size + 2 * GUARD > arena + (1ul << ARENA)) abort();
    Block *block = calloc(1, sizeof *block);
    *block = (Block){.next = blocks, .start = (CUdeviceptr)top, .size = size, .on_host = on_host};
    memset(top, 0xA5, size); /* not zero: nobody may count on that */
    top += (size + GUARD + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    blocks = block;
    *address = block->start;
    if (on_host) pinned++;
    else used += size;
    if (used > reserved) reserved = used;
    return 0;
}

/* Two pieces of work on the same bytes, one of them writing, have to be in an order. */
static void check_order(Block *block, Access now, const unsigned *clock) {
    int kept = 0;
    for (int i = 0; i < block->count; i++) {
        Access *was = &block->accesses[i];
        bool meets = was->start < now.end && now.start < was->end, ordered = clock[was->slot] >= was->at;
        if (meets && (was->writes || now.writes) && !ordered)
            mistake(0, "nothing orders the work of two streams on the same memory: no event is between them");
        bool covered = now.start <= was->start && was->end <= now.end && ordered;
        if (!(covered && (now.writes || (!was->writes && was->slot == now.slot)))) block->accesses[kept++] = *was;
    }
    if (kept == sizeof block->accesses / sizeof *block->accesses)
        memmove(block->accesses, block->accesses + 1, --kept * sizeof *block->accesses);
    block->accesses[kept] = now;
    block->count = kept + 1;
}

/* The work that runs uses these bytes; whether it may. */
bool driver_use(CUdeviceptr address, size_t size, bool writes, const char *what) {
    Block *block = find(address);
    const char *fault = !block ? "where there is no memory" : block->gone ? "of a freed buffer"
        : address + size > block->start + block->size ? "beyond the end of a buffer" : NULL;
    if (fault) {
        mistake(0, "%s %s %zu bytes %s", what, writes ? "writes" : "reads", size, fault);
        lost = CUDA_ERROR_ILLEGAL_ADDRESS;
        return false;
    }
    if (running) {
        unsigned slot = running->until; /* of its stream, while it runs */
        Access now = {slot, running->clock[slot], address - block->start, address - block->start + size, writes};
        check_order(block, now, running->clock);
    }
    return true;
}

static void vanish(Block *block) {
    check_order(block, (Access){running ? running->until : 0, running ? running->clock[running->until] : 0, 0, block->size, true},
                running ? running->clock : host);
    block->gone = true;
    memset((void *)block->start, 0x5A, block->size);
}

static CUresult give_back(CUdeviceptr address) {
    Block *block = find(address);
    if (!block || block->start != address) return mistake(CUDA_ERROR_INVALID_VALUE, "memory is freed that is none");
    if (block->forgotten) return 0;
    if (block->given_back) return mistake(CUDA_ERROR_INVALID_VALUE, "memory is freed twice");
    block->given_back = true;
    if (block->on_host) pinned--;
    else used -= block->size;
    return 0;
}

/* --- streams --- */

static CUstream stream_of(CUstream stream) { return (size_t)stream <= 2 ? &legacy : stream; }

static void join(unsigned *clock, const unsigned *other) {
    for (int i = 0; i < STREAMS; i++)
        if (clock[i] < other[i]) clock[i] = other[i];
}

static void execute(Work *work);

/* Do what is in the stream, up to a piece of work, and what has to be done before it. */
static void drain(CUstream stream, unsigned until) {
    if (stream->busy) return;
    stream->busy = true;
    while ((int)(until - stream->done) > 0 && stream->first) {
        Work *work = stream->first;
        stream->first = work->next;
        if (!stream->first) stream->end = &stream->first;
        if (work->kind == WAIT) drain(work->other, work->until);
        else {
            Work *outer = running;
            work->until = stream->slot;
            running = work;
            if (!lost || work->kind == FREE) execute(work);
            running = outer;
            stream->done++;
        }
        free(work);
    }
    stream->busy = false;
}

static CUresult finish(CUstream stream) {
    drain(stream, stream->issued);
    join(host, stream->clock);
    if (now < stream->at) now = stream->at;
    return lost;
}

static void execute(Work *work) {
    switch (work->kind) {
    case COPY:
        if (driver_use(work->from, work->size, false, "a copy") && driver_use(work->to, work->size, true, "a copy"))
            memmove((void *)work->to, (void *)work->from, work->size);
        break;
    case FILL:
        if (driver_use(work->to, work->size, true, "a fill")) memset((void *)work->to, work->value, work->size);
        break;
    case KERNEL: run_kernel(work->kernel->name, work->grid, work->block, work->values); break;
    case CALL_HOST: work->function(work->data); break;
    case FREE: vanish(find(work->to)); break;
    }
}

static void append(Work ***end, Work work) {
    Work *made = malloc(sizeof *made);
    *made = work;
    made->next = NULL;
    **end = made;
    *end = &made->next;
}

static void wait_for(CUstream stream, CUstream other, unsigned until, const unsigned *clock, long at) {
    append(&stream->end, (Work){.kind = WAIT, .other = other, .until = until});
    if (stream->at < at) stream->at = at;
    join(stream->clock, clock);
}

/* The stream that waits for all others waits, and is waited for, but for those that do not block. */
static void order_legacy(CUstream stream) {
    for (int i = 1; i < STREAMS && stream == &legacy; i++)
        if (streams[i] && !(streams[i]->flags & CU_STREAM_NON_BLOCKING))
            wait_for(&legacy, streams[i], streams[i]->issued, streams[i]->clock, streams[i]->at);
    if (stream != &legacy && !(stream->flags & CU_STREAM_NON_BLOCKING))
        wait_for(stream, &legacy, legacy.issued, legacy.clock, legacy.at);
}

/* What the work takes of made time: an engine does one piece after the other, a stream too. */
static void spend(CUstream stream, const Work *work) {
    int engine = work->kind == CALL_HOST ? 2 : work->kind != COPY || work->size < least_copy ? -1
        : find(work->from)->on_host ? 0 : find(work->to)->on_host ? 1 : -1;
    if (stream->at < now) stream->at = now;
    if (engine < 0) return;
    if (stream->at < free_at[engine]) stream->at = free_at[engine];
    free_at[engine] = stream->at += engine == 2 ? network_costs : copy_costs;
}

static void issue(CUstream stream, Work work) {
    order_legacy(stream);
    join(stream->clock, host);
    stream->issued = ++stream->clock[stream->slot];
    memcpy(work.clock, stream->clock, sizeof work.clock);
    if (copy_costs) spend(stream, &work);
    append(&stream->end, work);
}

/* Put work into a stream, or into the graph that is captured from it. */
static CUresult put(CUstream stream, Work work) {
    stream = stream_of(stream);
    if (stream == &legacy) OUTSIDE_CAPTURE("the legacy stream is used");
    if (!stream->graph) issue(stream, work);
    else append(&stream->graph->end, work);
    return 0;
}

CUresult cuStreamCreateWithPriority(CUstream *made, unsigned flags, int priority) {
    WORK;
    for (unsigned slot = 1; slot < STREAMS; slot++)
        if (!streams[slot]) {
            CUstream stream = streams[slot] = *made = calloc(1, sizeof *stream);
            stream->slot = slot, stream->flags = flags, stream->end = &stream->first;
            return 0;
        }
    return CUDA_ERROR_OUT_OF_MEMORY;
}
CUresult cuStreamCreate(CUstream *made, unsigned flags) { return cuStreamCreateWithPriority(made, flags, 0); }
CUresult cuStreamDestroy(CUstream stream) {
    CALL;
    return streams[stream->slot] == stream ? finish(stream) : 0; /* not freed: events may know it */
}
CUresult cuStreamSynchronize(CUstream stream) {
    WORK;
    OUTSIDE_CAPTURE("the host waits for a stream");
    return finish(stream_of(stream));
}
CUresult cuCtxSynchronize(void) {
    WORK;
    OUTSIDE_CAPTURE("the host waits for the GPU");
    for (int i = 0; i < STREAMS; i++)
        if (streams[i]) finish(streams[i]);
    return lost;
}
/* Whoever asks again and again gets on by one piece of work each time. */
CUresult cuStreamQuery(CUstream stream) {
    WORK;
    OUTSIDE_CAPTURE("a stream is asked whether it is done");
    stream = stream_of(stream);
    drain(stream, stream->done + 1);
    if (lost || stream->done == stream->issued) return finish(stream);
    return CUDA_ERROR_NOT_READY;
}
CUresult cuStreamGetCtx(CUstream stream, CUcontext *context) { CALL; *context = &primary; return 0; }
CUresult cuStreamGetCtx_v2(CUstream stream, CUcontext *context, CUgreenCtx *green) {
    if (green) *green = NULL;
    return cuStreamGetCtx(stream, context);
}
CUresult cuStreamGetDevice(CUstream stream, CUdevice *device) { CALL; *device = 0; return 0; }
CUresult cuStreamGetPriority(CUstream stream, int *priority) { CALL; *priority = 0; return 0; }
CUresult cuStreamGetFlags(CUstream stream, unsigned *flags) { CALL; *flags = stream_of(stream)->flags; return 0; }

CUresult cuEventCreate(CUevent *event, unsigned flags) { WORK; *event = calloc(1, sizeof **event); return 0; }
CUresult cuEventDestroy(CUevent event) { CALL; free(event); return 0; }
CUresult cuEventRecord(CUevent event, CUstream stream) {
    WORK;
    stream = stream_of(stream);
    event->graph = stream->graph, event->stream = stream, event->until = stream->issued, event->at = stream->at;
    memcpy(event->clock, stream->clock, sizeof event->clock);
    return 0;
}
CUresult cuEventRecordWithFlags(CUevent event, CUstream stream, unsigned flags) { return cuEventRecord(event, stream); }
CUresult cuStreamWaitEvent(CUstream stream, CUevent event, unsigned flags) {
    WORK;
    stream = stream_of(stream);
    if (stream->graph != event->graph) {
        CUgraph graph = stream->graph ? stream->graph : event->graph;
        graph->broken = true;
        return mistake(CUDA_ERROR_STREAM_CAPTURE_ISOLATION, "an event in a capture is waited for outside of it, or the other way round");
    }
    if (event->stream && !event->graph) wait_for(stream, event->stream, event->until, event->clock, event->at);
    return 0;
}
CUresult cuEventSynchronize(CUevent event) {
    WORK;
    OUTSIDE_CAPTURE("the host waits for an event");
    if (event->stream) drain(event->stream, event->until);
    join(host, event->clock);
    return lost;
}
CUresult cuEventQuery(CUevent event) {
    WORK;
    if (!event->stream) return 0;
    drain(event->stream, event->stream->done + 1);
    if ((int)(event->until - event->stream->done) > 0) return CUDA_ERROR_NOT_READY;
    join(host, event->clock);
    return lost;
}
CUresult cuEventElapsedTime(float *milliseconds, CUevent start, CUevent end) { CALL; *milliseconds = 1; return 0; }

/* --- memory, as it is asked for --- */

CUresult cuMemAllocFromPoolAsync(CUdeviceptr *address, size_t size, CUmemoryPool pool, CUstream stream) { WORK; return allocate(address, size, false); }
CUresult cuMemAllocAsync(CUdeviceptr *address, size_t size, CUstream stream) { WORK; return allocate(address, size, false); }
CUresult cuMemAlloc(CUdeviceptr *address, size_t size) { WORK; return allocate(address, size, false); }
CUresult cuMemAllocHost(void **address, size_t size) { WORK; return allocate((CUdeviceptr *)address, size, true); }
CUresult cuMemHostAlloc(void **address, size_t size, unsigned flags) { return cuMemAllocHost(address, size); }
CUresult cuMemFreeAsync(CUdeviceptr address, CUstream stream) {
    CALL;
    if (stream_of(stream)->graph) return outside_capture("memory is freed");
    CUresult code = give_back(address);
    if (!code && !find(address)->gone) issue(stream_of(stream), (Work){.kind = FREE, .to = address});
    return code;
}
static CUresult free_now(CUdeviceptr address) {
    for (int i = 0; i < STREAMS; i++)
        if (streams[i] && !streams[i]->graph) finish(streams[i]);
    CUresult code = give_back(address);
    if (!code && !find(address)->gone) vanish(find(address));
    return code;
}
CUresult cuMemFree(CUdeviceptr address) { CALL; return free_now(address); }
CUresult cuMemFreeHost(void *address) { CALL; return free_now((CUdeviceptr)address); }
CUresult cuMemGetInfo(size_t *free_bytes, size_t *all) {
    WORK;
    *all = total;
    *free_bytes = total > reserved ? total - reserved : 0;
    return 0;
}
CUresult cuMemcpyAsync(CUdeviceptr to, CUdeviceptr from, size_t size, CUstream stream) {
    WORK;
    return put(stream, (Work){.kind = COPY, .to = to, .from = from, .size = size});
}
CUresult cuMemcpy2DAsync(const CUDA_MEMCPY2D *copy, CUstream stream) {
    WORK;
    if (copy->srcMemoryType != CU_MEMORYTYPE_DEVICE || copy->dstMemoryType != CU_MEMORYTYPE_DEVICE) return CUDA_ERROR_NOT_SUPPORTED;
    if (copy->WidthInBytes > copy->srcPitch || copy->WidthInBytes > copy->dstPitch) return CUDA_ERROR_INVALID_VALUE;
    CUresult code = 0;
    for (size_t row = 0; row < copy->Height && !code; row++)
        code = put(stream, (Work){.kind = COPY, .to = copy->dstDevice + row * copy->dstPitch, .from = copy->srcDevice + row * copy->srcPitch, .size = copy->WidthInBytes});
    return code;
}
CUresult cuMemcpyDtoDAsync(CUdeviceptr to, CUdeviceptr from, size_t size, CUstream stream) { return cuMemcpyAsync(to, from, size, stream); }
CUresult cuMemcpyHtoDAsync(CUdeviceptr to, const void *from, size_t size, CUstream stream) { return cuMemcpyAsync(to, (CUdeviceptr)from, size, stream); }
CUresult cuMemcpyDtoHAsync(void *to, CUdeviceptr from, size_t size, CUstream stream) { return cuMemcpyAsync((CUdeviceptr)to, from, size, stream); }
/* The host's side may be any memory. */
static CUresult copy_now(CUdeviceptr checked, bool writes, void *to, const void *from, size_t size) {
    OUTSIDE_CAPTURE("the legacy stream is used");
    issue(&legacy, (Work){.kind = FILL, .to = checked, .size = 0});
    finish(&legacy);
    if (driver_use(checked, size, writes, "a copy")) memcpy(to, from, size);
    return lost;
}
CUresult cuMemcpyHtoD(CUdeviceptr to, const void *from, size_t size) { WORK; return copy_now(to, true, (void *)to, from, size); }
CUresult cuMemcpyDtoH(void *to, CUdeviceptr from, size_t size) { WORK; return copy_now(from, false, to, (void *)from, size); }
CUresult cuMemsetD8Async(CUdeviceptr to, unsigned char value, size_t size, CUstream stream) {
    WORK;
    return put(stream, (Work){.kind = FILL, .to = to, .value = value, .size = size});
}
CUresult cuDeviceGetDefaultMemPool(CUmemoryPool *pool, CUdevice device) { CALL; *pool = (CUmemoryPool)&used; return 0; }
CUresult cuDeviceGetMemPool(CUmemoryPool *pool, CUdevice device) { return cuDeviceGetDefaultMemPool(pool, device); }
CUresult cuMemGetMemPool(CUmemoryPool *pool, CUmemLocation *location, CUmemAllocationType type) { return cuDeviceGetDefaultMemPool(pool, 0); }
CUresult cuMemPoolTrimTo(CUmemoryPool pool, size_t size) { CALL; reserved = used > size ? used : size; return 0; }
CUresult cuMemPoolSetAttribute(CUmemoryPool pool, CUmemPool_attribute attribute, void *value) {
    CALL;
    if (attribute == CU_MEMPOOL_ATTR_RELEASE_THRESHOLD) threshold = *(size_t *)value;
    return 0;
}
CUresult cuMemPoolGetAttribute(CUmemoryPool pool, CUmemPool_attribute attribute, void *value) {
    CALL;
    bool is_used = attribute == CU_MEMPOOL_ATTR_USED_MEM_CURRENT;
    *(size_t *)value = is_used ? used : attribute == CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT ? reserved : threshold;
    return 0;
}

/* --- graphs --- */

CUresult cuStreamBeginCapture(CUstream stream, CUstreamCaptureMode mode) {
    WORK;
    if (stream_of(stream) == &legacy) return mistake(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, "the legacy stream is captured");
    if (stream->graph) return CUDA_ERROR_ILLEGAL_STATE;
    capturing = stream->graph = calloc(1, sizeof *capturing);
    capturing->end = &capturing->first, capturing->mode = mode, capturing->thread = pthread_self();
    return 0;
}
static Work **forget(Work **first) {
    for (Work *next; *first; *first = next) next = (*first)->next, free(*first);
    return first;
}
CUresult cuStreamEndCapture(CUstream stream, CUgraph *graph) {
    CALL;
    *graph = NULL;
    if (!stream_of(stream)->graph) return CUDA_ERROR_ILLEGAL_STATE;
    CUgraph made = stream->graph;
    capturing = stream->graph = NULL;
    if (made->broken) return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
    captures++;
    *graph = made;
    return 0;
}
CUresult cuStreamIsCapturing(CUstream stream, CUstreamCaptureStatus *status) {
    CALL;
    CUgraph graph = stream_of(stream)->graph;
    *status = !graph ? CU_STREAM_CAPTURE_STATUS_NONE : graph->broken ? CU_STREAM_CAPTURE_STATUS_INVALIDATED : CU_STREAM_CAPTURE_STATUS_ACTIVE;
    return 0;
}
CUresult cuStreamGetCaptureInfo_v3(CUstream stream, CUstreamCaptureStatus *status, cuuint64_t *id, CUgraph *graph, const CUgraphNode **nodes, const CUgraphEdgeData **edges, size_t *count) {
    if (id) *id = 1;
    if (graph) *graph = stream_of(stream)->graph;
    if (count) *count = 0;
    return cuStreamIsCapturing(stream, status);
}
CUresult cuStreamGetCaptureInfo_v2(CUstream stream, CUstreamCaptureStatus *status, cuuint64_t *id, CUgraph *graph, const CUgraphNode **nodes, size_t *count) {
    return cuStreamGetCaptureInfo_v3(stream, status, id, graph, nodes, NULL, count);
}
CUresult cuGraphInstantiate(CUgraphExec *made, CUgraph graph, unsigned long long flags) {
    WORK;
    OUTSIDE_CAPTURE("a graph is made");
    *made = calloc(1, sizeof **made);
    (*made)->test = test;
    Work **end = &(*made)->first;
    for (Work *work = graph->first; work; work = work->next) append(&end, *work);
    execs++;
    return 0;
}
CUresult cuGraphInstantiateWithParams(CUgraphExec *made, CUgraph graph, CUDA_GRAPH_INSTANTIATE_PARAMS *parameters) {
    parameters->result_out = CUDA_GRAPH_INSTANTIATE_SUCCESS;
    return cuGraphInstantiate(made, graph, parameters->flags);
}
CUresult cuGraphUpload(CUgraphExec graph, CUstream stream) { WORK; return 0; }
CUresult cuGraphLaunch(CUgraphExec graph, CUstream stream) {
    WORK;
    launches++;
    for (Work *work = graph->first; work; work = work->next) put(stream, *work);
    return 0;
}
CUresult cuGraphExecDestroy(CUgraphExec graph) { CALL; execs -= graph->test == test; forget(&graph->first); free(graph); return 0; }
CUresult cuGraphDestroy(CUgraph graph) { CALL; forget(&graph->first); free(graph); return 0; }
/* What a graph keeps alive, which here is never given up. */
CUresult cuUserObjectCreate(CUuserObject *made, void *data, CUhostFn destroy, unsigned count, unsigned flags) { CALL; *made = calloc(1, 1); return 0; }
CUresult cuUserObjectRetain(CUuserObject object, unsigned count) { CALL; return 0; }
CUresult cuUserObjectRelease(CUuserObject object, unsigned count) { CALL; return 0; }
CUresult cuGraphRetainUserObject(CUgraph graph, CUuserObject object, unsigned count, unsigned flags) { CALL; return 0; }
CUresult cuGraphReleaseUserObject(CUgraph graph, CUuserObject object, unsigned count) { CALL; return 0; }

/* --- kernels: PTX says the parameters in its entries, a cubin in a section for each --- */

static Kernel *add_kernel(Library *library, const char *name, size_t length) {
    Kernel *kernel = calloc(1, sizeof *kernel);
    *kernel = (Kernel){.next = library->kernels, .shared = 48 << 10};
    snprintf(kernel->name, sizeof kernel->name, "%.*s", (int)length, name);
    return library->kernels = kernel;
}
static void read_ptx(Library *library, const char *text) {
    while ((text = strstr(text, ".entry "))) {
        text += strlen(".entry ");
        Kernel *kernel = add_kernel(library, text, strcspn(text, " (\n"));
        const char *end = strchr(text, ')');
        for (const char *p = text; end && (p = strstr(p, ".param .")) && p < end && kernel->count < PARAMETERS;) {
            p += strlen(".param .") + 1; /* and the kind's letter */
            kernel->sizes[kernel->count++] = atoi(p) / 8;
        }
    }
}
static void read_cubin(Library *library, const char *file) {
    const Elf64_Ehdr *head = (const Elf64_Ehdr *)file;
    const Elf64_Shdr *sections = (const Elf64_Shdr *)(file + head->e_shoff);
    for (int i = 0; i < head->e_shnum; i++) {
        const char *name = file + sections[head->e_shstrndx].sh_offset + sections[i].sh_name;
        if (strncmp(name, ".nv.info.", 9)) continue;
        Kernel *kernel = add_kernel(library, name + 9, strlen(name + 9));
        const unsigned char *p = (const unsigned char *)file + sections[i].sh_offset, *end = p + sections[i].sh_size;
        while (p < end) {
            unsigned format = p[0], attribute = p[1], size = p[2] | p[3] << 8;
            p += 4;
            if (format != 4) continue; /* no more than the four bytes */
            if (attribute == 0x17 && *(unsigned short *)(p + 4) < PARAMETERS) { /* KPARAM_INFO */
                kernel->sizes[*(unsigned short *)(p + 4)] = *(unsigned *)(p + 8) >> 18;
                kernel->count++;
            }
            p += size;
        }
    }
}
CUresult cuLibraryLoadData(CUlibrary *made, const void *code, CUjit_option *o, void **v, unsigned n, CUlibraryOption *lo, void **lv, unsigned ln) {
    WORK;
    OUTSIDE_CAPTURE("a kernel is loaded");
    Library *library = calloc(1, sizeof *library);
    if (!memcmp(code, ELFMAG, SELFMAG)) read_cubin(library, code);
    else read_ptx(library, code);
    *made = (CUlibrary)library;
    return library->kernels ? 0 : CUDA_ERROR_INVALID_IMAGE;
}
CUresult cuLibraryLoadFromFile(CUlibrary *made, const char *path, CUjit_option *o, void **v, unsigned n, CUlibraryOption *lo, void **lv, unsigned ln) {
    FILE *file = fopen(path, "rb");
    if (!file) return CUDA_ERROR_FILE_NOT_FOUND;
    fseek(file, 0, SEEK_END);
    size_t size = ftell(file);
    char *content = calloc(1, size + 1);
    rewind(file);
    size = fread(content, 1, size, file);
    fclose(file);
    CUresult code = cuLibraryLoadData(made, content, o, v, n, lo, lv, ln);
    free(content);
    return code;
}
CUresult cuLibraryUnload(CUlibrary library) { CALL; return 0; }
CUresult cuLibraryGetKernel(CUkernel *made, CUlibrary library, const char *name) {
    WORK;
    for (Kernel *kernel = ((Library *)library)->kernels; kernel; kernel = kernel->next)
        if (!strcmp(kernel->name, name)) { *made = (CUkernel)kernel; return 0; }
    return CUDA_ERROR_NOT_FOUND;
}
CUresult cuKernelGetFunction(CUfunction *function, CUkernel kernel) { CALL; *function = (CUfunction)kernel; return 0; }
CUresult cuKernelGetLibrary(CUlibrary *library, CUkernel kernel) { CALL; *library = (CUlibrary)kernel; return 0; }
CUresult cuKernelSetAttribute(CUfunction_attribute attribute, int value, CUkernel kernel, CUdevice device) {
    WORK;
    if (attribute == CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES) ((Kernel *)kernel)->shared = value;
    return 0;
}
CUresult cuKernelGetAttribute(int *value, CUfunction_attribute attribute, CUkernel kernel, CUdevice device) { CALL; *value = 0; return 0; }
CUresult cuKernelGetParamInfo(CUkernel kernel, size_t i, size_t *offset, size_t *size) {
    CALL;
    if (i >= (size_t)((Kernel *)kernel)->count) return CUDA_ERROR_INVALID_VALUE;
    *offset = 8 * i;
    if (size) *size = ((Kernel *)kernel)->sizes[i];
    return 0;
}
CUresult cuLaunchKernelEx(const CUlaunchConfig *how, CUfunction function, void **parameters, void **extra) {
    WORK;
    Work work = {.kind = KERNEL, .kernel = (Kernel *)function, .grid = {how->gridDimX, how->gridDimY, how->gridDimZ}, .block = {how->blockDimX, how->blockDimY, how->blockDimZ}};
    if (how->sharedMemBytes > (unsigned)work.kernel->shared) return CUDA_ERROR_INVALID_VALUE;
    for (int i = 0; i < work.kernel->count; i++) memcpy(work.values + 8 * i, parameters[i], work.kernel->sizes[i]);
    return put(how->hStream, work);
}
CUresult cuLaunchKernel(CUfunction function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned shared, CUstream stream, void **parameters, void **extra) {
    CUlaunchConfig how = {gx, gy, gz, bx, by, bz, shared, stream, NULL, 0};
    return cuLaunchKernelEx(&how, function, parameters, extra);
}
CUresult cuLaunchHostFunc(CUstream stream, CUhostFn function, void *data) {
    WORK;
    return put(stream, (Work){.kind = CALL_HOST, .function = function, .data = data});
}

/* --- the device and its contexts --- */

CUresult cuInit(unsigned flags) { CALL; return 0; }
CUresult cuDriverGetVersion(int *found) { *found = present ? version : 0; return 0; }
CUresult cuDeviceGetCount(int *count) { CALL; *count = 1; return 0; }
CUresult cuDeviceGet(CUdevice *device, int ordinal) { CALL; *device = ordinal; return ordinal ? CUDA_ERROR_INVALID_DEVICE : 0; }
CUresult cuDeviceGetName(char *name, int size, CUdevice device) { CALL; snprintf(name, size, "a GPU of the tests"); return 0; }
CUresult cuDeviceTotalMem(size_t *size, CUdevice device) { CALL; *size = total; return 0; }
CUresult cuDeviceGetUuid(CUuuid *uuid, CUdevice device) { CALL; memset(uuid, 7, sizeof *uuid); return 0; }
CUresult cuDeviceGetPCIBusId(char *name, int size, CUdevice device) { CALL; snprintf(name, size, "0000:00:00.0"); return 0; }
CUresult cuDeviceGetAttribute(int *value, CUdevice_attribute attribute, CUdevice device) {
    CALL;
    *value = attribute == CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR ? capability / 10 : attribute == CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR ? capability % 10 : 1;
    return 0;
}
CUresult cuDeviceComputeCapability(int *major, int *minor, CUdevice device) { CALL; *major = capability / 10, *minor = capability % 10; return 0; }
static CUresult set_current(CUcontext context) { if (!depth) depth = 1; current[depth - 1] = context; return 0; }
CUresult cuDevicePrimaryCtxRetain(CUcontext *context, CUdevice device) { CALL; *context = &primary; return 0; }
CUresult cuDevicePrimaryCtxRelease(CUdevice device) { CALL; return 0; }
CUresult cuDevicePrimaryCtxGetState(CUdevice device, unsigned *flags, int *active) { CALL; *flags = 0; *active = 1; return 0; }
CUresult cuCtxCreate_v2(CUcontext *context, unsigned flags, CUdevice device) {
    CALL;
    *context = calloc(1, sizeof **context);
    current[depth++] = *context;
    return 0;
}
CUresult cuCtxCreate_v4(CUcontext *context, CUctxCreateParams *parameters, unsigned flags, CUdevice device) { return cuCtxCreate_v2(context, flags, device); }
CUresult cuCtxDestroy(CUcontext context) { CALL; if (depth && current[depth - 1] == context) depth--; return 0; }
CUresult cuCtxDetach(CUcontext context) { return cuCtxDestroy(context); }
CUresult cuCtxGetCurrent(CUcontext *context) { CALL; *context = depth ? current[depth - 1] : NULL; return 0; }
CUresult cuCtxSetCurrent(CUcontext context) { CALL; return set_current(context); }
CUresult cuCtxPushCurrent(CUcontext context) { CALL; if (depth == CONTEXTS) return CUDA_ERROR_INVALID_VALUE; current[depth++] = context; return 0; }
CUresult cuCtxPopCurrent(CUcontext *context) { CALL; if (!depth) return CUDA_ERROR_INVALID_CONTEXT; depth--; if (context) *context = current[depth]; return 0; }
CUresult cuCtxGetDevice(CUdevice *device) { WORK; *device = 0; return 0; }
CUresult cuCtxGetStreamPriorityRange(int *least, int *greatest) { WORK; *least = *greatest = 0; return 0; }
CUresult cuGetErrorString(CUresult code, const char **text) { *text = "as the test wants it"; return 0; }
CUresult cuGetErrorName(CUresult code, const char **name) {
    static __thread char number[32];
    snprintf(number, sizeof number, "CUDA_ERROR_%d", code);
    *name = code == CUDA_ERROR_OUT_OF_MEMORY ? "CUDA_ERROR_OUT_OF_MEMORY"
        : code == CUDA_ERROR_LAUNCH_FAILED ? "CUDA_ERROR_LAUNCH_FAILED"
        : code == CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES ? "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES" : number;
    return 0;
}
CUresult cuGetProcAddress(const char *symbol, void **found, int wanted, cuuint64_t flags, CUdriverProcAddressQueryResult *status) {
    static const char *const endings[] = {"_v4", "_v3", "_v2", "WithFlags", ""};
    *found = NULL;
    for (unsigned i = wanted >= 12030 ? 0 : 2; i < sizeof endings / sizeof *endings && !*found; i++) {
        char name[256];
        snprintf(name, sizeof name, "%s%s", symbol, endings[i]);
        *found = dlsym(RTLD_DEFAULT, name);
    }
    if (status) *status = *found ? CU_GET_PROC_ADDRESS_SUCCESS : CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND;
    return *found ? 0 : CUDA_ERROR_NOT_FOUND;
}

/* --- what the tests say and ask --- */

/* Begin a test; what is left of the one before is none of its business. Without kernels: go. */
void driver_start(void (*kernels)(const char *, const unsigned *, const unsigned *, const char *)) {
    pthread_mutex_lock(&lock);
    for (Block *block = blocks; block; block = block->next) block->gone = block->forgotten = true;
    if (arena) madvise(arena, top - arena, MADV_DONTNEED);
    memset(streams + 1, 0, sizeof streams - sizeof *streams);
    memset(host, 0, sizeof host);
    legacy = (struct CUstream_st){.end = &legacy.first};
    run_kernel = kernels, present = kernels != NULL, test++;
    total = 1 << 30, version = 13050, capability = 89, capturing = NULL;
    copy_costs = network_costs = now = 0;
    memset(free_at, 0, sizeof free_at);
    used = reserved = pinned = execs = captures = launches = called = lost = 0, *mistakes = *fault.name = 0;
    pthread_mutex_unlock(&lock);
}
void driver_is(size_t memory, int is_version, int sm) { total = memory, version = is_version, capability = sm; }
void driver_fail(const char *function, int nth, int code) {
    snprintf(fault.name, sizeof fault.name, "%s", function);
    fault.nth = nth, fault.code = code;
}
void driver_costs(long copy, long network, size_t least) { copy_costs = copy, network_costs = network, least_copy = least; }
long driver_now(void) { return now; }
void driver_set_now(long time) { now = time; }
void driver_settle(void) {
    for (int i = 0; i < STREAMS; i++)
        if (streams[i]) drain(streams[i], streams[i]->issued);
}
bool driver_has_failed(void) { return !*fault.name; }
void driver_lose(int code) { lost = code; }
void driver_forgive(void) { *mistakes = 0, lost = 0; }
void driver_count(long *counts) {
    long all[] = {(long)used, pinned, execs, captures, launches, called};
    memcpy(counts, all, sizeof all);
}
const char *driver_call(int i) { return calls[i]; }
const char *driver_mistakes(void) { return mistakes; }
size_t driver_block(CUdeviceptr address) {
    Block *block = find(address);
    return block && !block->gone ? block->start + block->size - address : 0;
}
