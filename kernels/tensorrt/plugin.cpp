// The fused operators as TensorRT plugins, which launch kernels that lie in this library.
//
// What each operator is and how it is launched stands in "table.inc", which table.py writes
// from the kernels' index and from the launchers in Python. Here is what TensorRT asks of a
// plugin, and the driver, whose functions are looked up as the first kernel is loaded.
//
// Kernels are loaded when a plugin is attached to an execution context, sizes are computed
// when shapes change; `enqueue` launches and does nothing else, so it can be captured.

#include <NvInferRuntime.h>
#include <cuda.h>
#include <dlfcn.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

using namespace nvinfer1;

namespace {

// --- the table -----------------------------------------------------------------------------

template <typename T>
struct Span {
    T const* first{};
    int count{};

    constexpr Span() = default;
    template <int N>
    constexpr Span(T const (&all)[N]) : first(all), count(N) {}
    T const* begin() const { return first; }
    T const* end() const { return first + count; }
    T const& operator[](int i) const { return first[i]; }
};

// An argument of a kernel; the driver reads as many of its bytes as the kernel declares.
union Value {
    void const* pointer;
    int32_t integer;
    float real;
};

using Grid = std::array<int64_t, 3>;
using Name = uint8_t; // of an argument, see At
using Suits = bool (*)(Dims const* in);
using Fill = void (*)(Dims const* in, float scale, Grid& grid, Value* values);

// A cubin or PTX, for the compute capabilities from `least` to `most`; 89 is 8.9. A program
// of it uses `shared` bytes of shared memory.
struct Image {
    int least, most;
    unsigned shared;
    unsigned char const* data;
};

// experts, rows: what lora_A has to have; 0 where there is none.
struct Kernel {
    char const* name;
    char const* entry;
    Span<Image> images;
    Span<Name> arguments;
    Span<Name> aligned;
    unsigned block;
    int experts, rows;
};

struct Launch {
    Kernel const* kernel;
    Fill fill;
};

struct Way {
    DataType type;
    int tactic;
    Suits suits;
    Span<Launch> launches;
};

struct Operator {
    char const* name;
    char const* timing; // names what its tactics are, in a cache of timings
    bool scaled;    // has the attribute `scale`
    bool pointwise; // may be a convolution that has no kernel
    Span<Name> inputs, outputs;
    Span<Way> ways;
    void (*shapes)(DimsExprs const* in, IExprBuilder& builder, DimsExprs* out);
    int64_t (*workspace)(Dims const* in);
};

// Rounds down, as `//` of Python does.
constexpr int64_t divided(int64_t a, int64_t b) {
    return a / b - (a % b != 0 && (a < 0) != (b < 0));
}

// Gates are (E), or (N, E) for each picture its own.
int64_t stride(Dims const& gates) {
    return gates.nbDims == 2 ? gates.d[1] : 0;
}

IDimensionExpr const* one(IExprBuilder& builder) {
    return builder.constant(1);
}

IDimensionExpr const* halved(IExprBuilder& builder, IDimensionExpr const* dim) {
    return builder.operation(DimensionOperation::kFLOOR_DIV, *dim, *builder.constant(2));
}

#include "table.inc"

// --- errors and the log --------------------------------------------------------------------

std::atomic<ILoggerFinder*> gFinder{nullptr};

void log(std::string const& message) {
    ILoggerFinder* finder = gFinder;
    ILogger* logger = finder != nullptr ? finder->findLogger() : nullptr;
    if (logger != nullptr)
        logger->log(ILogger::Severity::kERROR, message.c_str());
    else
        std::cerr << message << std::endl;
}

template <typename... Parts>
std::string text(Parts const&... parts) {
    std::ostringstream made;
    (made << ... << parts);
    return made.str();
}

template <typename... Parts>
[[noreturn]] void fail(Parts const&... parts) {
    throw std::runtime_error(text(parts...));
}

// TensorRT takes no exceptions: what fails is said in its log, and `otherwise` returned.
template <typename T, typename Work>
T guarded(char const* who, T otherwise, Work work) noexcept {
    try {
        return work();
    } catch (std::exception const& error) {
        log(text("lorair plugin ", who, ": ", error.what()));
        return otherwise;
    }
}

// --- the driver ----------------------------------------------------------------------------

struct Driver {
    decltype(&cuGetErrorName) getErrorName;
    decltype(&cuCtxGetDevice) ctxGetDevice;
    decltype(&cuDeviceGetAttribute) deviceGetAttribute;
    decltype(&cuLibraryLoadData) libraryLoadData;
    decltype(&cuLibraryGetKernel) libraryGetKernel;
    decltype(&cuKernelGetFunction) kernelGetFunction;
    decltype(&cuFuncSetAttribute) funcSetAttribute;
    decltype(&cuLaunchKernel) launchKernel;
    CUresult (*funcLoad)(CUfunction); // of CUDA 12.4; null before

    Driver() {
        void* library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
        if (library == nullptr)
            fail("there is no NVIDIA driver: ", dlerror());
        find(library, getErrorName, "cuGetErrorName");
        find(library, ctxGetDevice, "cuCtxGetDevice");
        find(library, deviceGetAttribute, "cuDeviceGetAttribute");
        find(library, libraryLoadData, "cuLibraryLoadData");
        find(library, libraryGetKernel, "cuLibraryGetKernel");
        find(library, kernelGetFunction, "cuKernelGetFunction");
        find(library, funcSetAttribute, "cuFuncSetAttribute");
        find(library, launchKernel, "cuLaunchKernel");
        funcLoad = reinterpret_cast<decltype(funcLoad)>(dlsym(library, "cuFuncLoad"));
    }

    void check(CUresult result, char const* what, char const* of) const {
        if (result == CUDA_SUCCESS)
            return;
        char const* name = nullptr;
        getErrorName(result, &name);
        fail(what, " of ", of, ": ", name != nullptr ? name : "an unknown error");
    }

private:
    template <typename F>
    static void find(void* library, F& function, char const* name) {
        function = reinterpret_cast<F>(dlsym(library, name));
        if (function == nullptr)
            fail("the NVIDIA driver has no ", name, ": wanted one of CUDA 12 or later");
    }
};

Driver const& driver() {
    static Driver const found; // tried again if it throws
    return found;
}

// The compute capability of the GPU whose context is current, times ten.
int capability() {
    Driver const& cuda = driver();
    CUdevice device{};
    int major{}, minor{};
    cuda.check(cuda.ctxGetDevice(&device), "the current context", "the calling thread");
    cuda.check(cuda.deviceGetAttribute(&major, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, device),
        "the compute capability", "the GPU");
    cuda.check(cuda.deviceGetAttribute(&minor, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, device),
        "the compute capability", "the GPU");
    return 10 * major + minor;
}

// What a GPU launches.
struct Function {
    CUfunction handle;
    unsigned shared;
};

Image const& imageFor(Kernel const& kernel, int sm) {
    for (Image const& image : kernel.images)
        if (image.least <= sm && sm <= image.most)
            return image;
    fail(kernel.name, " is not compiled for compute capability ", sm / 10, '.', sm % 10,
        ": compile it with `lorair-export build --kernels`");
}

// A kernel as the driver knows it, loaded once a process: it is of no context, and it stays,
// because unloading would have to wait for the GPU.
CUkernel loaded(Kernel const& kernel, Image const& image) {
    static std::mutex lock;
    static std::map<unsigned char const*, CUkernel> all;
    std::lock_guard<std::mutex> held(lock);
    CUkernel& found = all[image.data];
    if (found == nullptr) {
        Driver const& cuda = driver();
        CUlibrary library{};
        cuda.check(cuda.libraryLoadData(&library, image.data, nullptr, nullptr, 0, nullptr, nullptr, 0), "loading",
            kernel.name);
        cuda.check(cuda.libraryGetKernel(&found, library, kernel.entry), "the function", kernel.name);
    }
    return found;
}

// For the current context, on the GPU now: no launch has to load it.
Function functionOf(Kernel const& kernel, int sm) {
    Driver const& cuda = driver();
    Image const& image = imageFor(kernel, sm);
    Function made{nullptr, image.shared};
    cuda.check(cuda.kernelGetFunction(&made.handle, loaded(kernel, image)), "the function", kernel.name);
    cuda.check(cuda.funcSetAttribute(made.handle, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
                   static_cast<int>(image.shared)),
        "the shared memory", kernel.name);
    if (cuda.funcLoad != nullptr)
        cuda.check(cuda.funcLoad(made.handle), "loading", kernel.name);
    return made;
}

// --- the plugin ----------------------------------------------------------------------------

constexpr int kHeuristic = 0;

class Plugin final : public IPluginV3, public IPluginV3OneCore, public IPluginV3OneBuild, public IPluginV3OneRuntime {
public:
    Plugin(Operator const& op, float scale) : mOperator(op), mScale(scale) {}

    IPluginCapability* getCapabilityInterface(PluginCapabilityType type) noexcept override {
        switch (type) {
        case PluginCapabilityType::kCORE: return static_cast<IPluginV3OneCore*>(this);
        case PluginCapabilityType::kBUILD: return static_cast<IPluginV3OneBuild*>(this);
        case PluginCapabilityType::kRUNTIME: return static_cast<IPluginV3OneRuntime*>(this);
        }
        return nullptr;
    }

    IPluginV3* clone() noexcept override {
        return guarded<IPluginV3*>(mOperator.name, nullptr, [this] { return copy(); });
    }

    // Core

    AsciiChar const* getPluginName() const noexcept override { return mOperator.name; }
    AsciiChar const* getPluginVersion() const noexcept override { return kVersion; }
    AsciiChar const* getPluginNamespace() const noexcept override { return kNamespace; }

    // Build

    int32_t getNbOutputs() const noexcept override { return mOperator.outputs.count; }

    int32_t getOutputDataTypes(
        DataType* types, int32_t count, DataType const* inputs, int32_t) const noexcept override {
        std::fill(types, types + count, inputs[0]);
        return 0;
    }

    int32_t getOutputShapes(DimsExprs const* inputs, int32_t, DimsExprs const*, int32_t, DimsExprs* outputs,
        int32_t, IExprBuilder& builder) noexcept override {
        mOperator.shapes(inputs, builder, outputs);
        return 0;
    }

    // Linear; gates are float32, x is of a type that has kernels, all else is as x.
    bool supportsFormatCombination(
        int32_t pos, DynamicPluginTensorDesc const* inOut, int32_t nbInputs, int32_t) noexcept override {
        PluginTensorDesc const& asked = inOut[pos].desc;
        if (asked.format != TensorFormat::kLINEAR)
            return false;
        if (pos < nbInputs && mOperator.inputs[pos] == At::gates)
            return asked.type == DataType::kFLOAT;
        return pos == 0 ? tactics(asked.type) > 0 : asked.type == inOut[0].desc.type;
    }

    int32_t configurePlugin(
        DynamicPluginTensorDesc const* in, int32_t, DynamicPluginTensorDesc const*, int32_t) noexcept override {
        mType = in[0].desc.type;
        return 0;
    }

    // Tilings, numbered from 1, where there is a choice. The type may not be known yet.
    int32_t getNbTactics() noexcept override {
        int const count = tactics(mType);
        return count > 1 ? count : 0;
    }

    int32_t getValidTactics(int32_t* numbers, int32_t count) noexcept override {
        for (int32_t i = 0; i < count; ++i)
            numbers[i] = i + 1;
        return 0;
    }

    char const* getTimingCacheID() noexcept override { return mOperator.timing; }

    size_t getWorkspaceSize(DynamicPluginTensorDesc const* inputs, int32_t count, DynamicPluginTensorDesc const*,
        int32_t) const noexcept override {
        return guarded<size_t>(mOperator.name, 0, [&] {
            std::vector<Dims> most;
            for (int32_t i = 0; i < count; ++i)
                most.push_back(inputs[i].max);
            return static_cast<size_t>(mOperator.workspace(most.data()));
        });
    }

    // Runtime

    IPluginV3* attachToContext(IPluginResourceContext*) noexcept override {
        return guarded<IPluginV3*>(mOperator.name, nullptr, [this] {
            std::unique_ptr<Plugin> attached{copy()};
            attached->load();
            return attached.release();
        });
    }

    int32_t setTactic(int32_t tactic) noexcept override {
        mTactic = tactic;
        return guarded(mOperator.name, -1, [this] { return prepare(); });
    }

    int32_t onShapeChange(
        PluginTensorDesc const* in, int32_t count, PluginTensorDesc const*, int32_t) noexcept override {
        return guarded(mOperator.name, -1, [&] {
            mType = in[0].type;
            mShapes.clear();
            for (int32_t i = 0; i < count; ++i)
                mShapes.push_back(in[i].dims);
            return prepare();
        });
    }

    int32_t enqueue(PluginTensorDesc const*, PluginTensorDesc const*, void const* const* inputs, void* const* outputs,
        void* workspace, cudaStream_t stream) noexcept override {
        return guarded(mOperator.name, -1, [&] {
            if (mReady.empty())
                fail("its shapes are not known");
            for (Ready ready : mReady) { // a copy, for the pointers
                for (int i = 0; i < mOperator.inputs.count; ++i)
                    ready.values[mOperator.inputs[i]].pointer = inputs[i];
                for (int i = 0; i < mOperator.outputs.count; ++i)
                    ready.values[mOperator.outputs[i]].pointer = outputs[i];
                ready.values[At::sums].pointer = workspace;
                start(ready, stream);
            }
            return 0;
        });
    }

    PluginFieldCollection const* getFieldsToSerialize() noexcept override {
        return guarded<PluginFieldCollection const*>(mOperator.name, nullptr, [this] {
            mFields = {{"kernels", kKernelSet, PluginFieldType::kCHAR, sizeof kKernelSet}};
            if (mOperator.scaled)
                mFields.push_back({"scale", &mScale, PluginFieldType::kFLOAT32, 1});
            mCollection = {static_cast<int32_t>(mFields.size()), mFields.data()};
            return &mCollection;
        });
    }

private:
    struct Ready {
        Kernel const* kernel;
        Function function;
        Grid grid;
        std::array<Value, At::count> values;
    };

    // The fields, which point into this object, are made anew.
    Plugin* copy() const {
        auto* made = new Plugin(mOperator, mScale);
        made->mType = mType;
        made->mTactic = mTactic;
        made->mShapes = mShapes;
        made->mFunctions = mFunctions;
        made->mReady = mReady;
        return made;
    }

    int tactics(std::optional<DataType> type) const {
        int most = 0;
        for (Way const& way : mOperator.ways)
            if (!type || way.type == *type)
                most = std::max(most, way.tactic);
        return most;
    }

    // All kernels of the operator: which of them is launched, shapes decide.
    void load() {
        int const sm = capability();
        for (Way const& way : mOperator.ways)
            for (Launch const& launch : way.launches)
                mFunctions[launch.kernel] = functionOf(*launch.kernel, sm);
    }

    int32_t prepare() {
        mReady.clear();
        if (mShapes.empty())
            return 0;
        if (mFunctions.empty())
            load();
        Dims const& x = mShapes[0];
        if (x.d[2] * x.d[3] >= kMaxPixels)
            fail("cannot launch planes of ", x.d[2] * x.d[3], " pixels: wanted less than ", kMaxPixels);
        std::string reason = "no kernels in the type of x";
        for (Way const& way : mOperator.ways) {
            bool const wanted = mTactic == kHeuristic ? way.suits(mShapes.data()) : way.tactic == mTactic;
            if (way.type != *mType || !wanted)
                continue;
            std::vector<Ready> ready;
            for (Launch const& launch : way.launches) {
                Ready one{launch.kernel, mFunctions.at(launch.kernel), {}, {}};
                launch.fill(mShapes.data(), mScale, one.grid, one.values.data());
                ready.push_back(one);
            }
            reason = misfit(ready);
            if (reason.empty()) {
                mReady = ready;
                return 0;
            }
        }
        fail("cannot launch: ", reason);
    }

    // What a kernel takes for granted and these shapes are not; empty if they are.
    std::string misfit(std::vector<Ready> const& all) const {
        for (Ready const& ready : all) {
            Kernel const& kernel = *ready.kernel;
            for (Name name : kernel.aligned)
                if (!isPointer(name) && ready.values[name].integer % kAlignment != 0)
                    return text("wanted ", kNames[name], " a multiple of ", kAlignment, ", found ",
                        ready.values[name].integer);
            for (int i = 0; i < mOperator.inputs.count; ++i)
                if (mOperator.inputs[i] == At::lora_A && kernel.experts != 0
                    && (mShapes[i].d[0] != kernel.experts || mShapes[i].d[1] != kernel.rows))
                    return text("the kernels are of another network: wanted ", kernel.experts, " experts with ",
                        kernel.rows, " rows of lora_A, found ", mShapes[i].d[0], " with ", mShapes[i].d[1]);
        }
        return "";
    }

    bool isPointer(Name name) const {
        return name == At::sums || isIn(mOperator.inputs, name) || isIn(mOperator.outputs, name);
    }

    static bool isIn(Span<Name> names, Name name) {
        return std::find(names.begin(), names.end(), name) != names.end();
    }

    void start(Ready& ready, cudaStream_t stream) const {
        Kernel const& kernel = *ready.kernel;
        std::array<void*, kMostArguments> arguments{};
        for (int i = 0; i < kernel.arguments.count; ++i)
            arguments[i] = &ready.values[kernel.arguments[i]];
        for (Name name : kernel.aligned)
            if (isPointer(name) && reinterpret_cast<uintptr_t>(ready.values[name].pointer) % kAlignment != 0)
                fail("cannot launch ", kernel.name, ": the address of ", kNames[name], " is no multiple of ",
                    kAlignment);
        auto side = [&ready](int axis) { return static_cast<unsigned>(ready.grid[axis]); };
        driver().check(driver().launchKernel(ready.function.handle, side(0), side(1), side(2), kernel.block, 1,
                           1, ready.function.shared, stream, arguments.data(), nullptr),
            "the launch", kernel.name);
    }

    Operator const& mOperator;
    float const mScale;
    std::optional<DataType> mType; // of x
    int32_t mTactic{kHeuristic};
    std::vector<Dims> mShapes;
    std::map<Kernel const*, Function> mFunctions;
    std::vector<Ready> mReady;
    std::vector<PluginField> mFields;
    PluginFieldCollection mCollection{};
};

// --- the creators --------------------------------------------------------------------------

PluginField const* find(PluginFieldCollection const& fields, char const* name) {
    for (int32_t i = 0; i < fields.nbFields; ++i)
        if (std::strcmp(fields.fields[i].name, name) == 0 && fields.fields[i].length > 0)
            return &fields.fields[i];
    return nullptr;
}

// A convolution that is not 1x1 has no kernel: its node should have stayed with its body.
void checkPointwise(PluginFieldCollection const& fields) {
    constexpr std::pair<char const*, int32_t> kOnly[] = {{"strides", 1}, {"pads", 0}, {"group", 1}};
    for (auto const& [name, only] : kOnly) {
        PluginField const* field = find(fields, name);
        for (int32_t i = 0; field != nullptr && i < field->length; ++i)
            if (static_cast<int32_t const*>(field->data)[i] != only)
                fail("there is no kernel for this convolution: wanted ", name, ' ', only, "; leave it to its body");
    }
}

// A tactic is a number of this library's kernels, so an engine runs with those it was timed with.
void checkKernels(PluginFieldCollection const& fields) {
    PluginField const* field = find(fields, "kernels");
    auto* data = field != nullptr ? static_cast<char const*>(field->data) : "";
    std::string const wanted(data, strnlen(data, field != nullptr ? field->length : 0));
    if (wanted != kKernelSet)
        fail("the engine was built with other kernels: wanted ", wanted, ", found ", kKernelSet);
}

class Creator final : public IPluginCreatorV3One {
public:
    explicit Creator(Operator const& op) : mOperator(op) {
        if (op.scaled)
            mFields.push_back({"scale", nullptr, PluginFieldType::kFLOAT32, 1});
        if (op.pointwise)
            for (char const* name : {"strides", "pads", "group"})
                mFields.push_back({name, nullptr, PluginFieldType::kINT32, 0});
        mCollection = {static_cast<int32_t>(mFields.size()), mFields.data()};
    }

    AsciiChar const* getPluginName() const noexcept override { return mOperator.name; }
    AsciiChar const* getPluginVersion() const noexcept override { return kVersion; }
    AsciiChar const* getPluginNamespace() const noexcept override { return kNamespace; }
    PluginFieldCollection const* getFieldNames() noexcept override { return &mCollection; }

    IPluginV3* createPlugin(
        AsciiChar const*, PluginFieldCollection const* fields, TensorRTPhase phase) noexcept override {
        return guarded<IPluginV3*>(mOperator.name, nullptr, [&] {
            if (phase == TensorRTPhase::kRUNTIME)
                checkKernels(*fields);
            if (mOperator.pointwise)
                checkPointwise(*fields);
            PluginField const* scale = mOperator.scaled ? find(*fields, "scale") : nullptr;
            if (mOperator.scaled && (scale == nullptr || scale->type != PluginFieldType::kFLOAT32))
                fail("the node has no scale");
            return new Plugin(mOperator, scale != nullptr ? *static_cast<float const*>(scale->data) : 0.F);
        });
    }

private:
    Operator const& mOperator;
    std::vector<PluginField> mFields;
    PluginFieldCollection mCollection{};
};

// A function of the TensorRT in this process; null if none can be found.
void* ofTensorRT(char const* name) {
    void* function = dlsym(RTLD_DEFAULT, name);
    for (int major = 10; function == nullptr && major < 20; ++major) {
        if (void* library = dlopen(text("libnvinfer.so.", major).c_str(), RTLD_NOW | RTLD_NOLOAD)) {
            function = dlsym(library, name);
            dlclose(library);
        }
    }
    return function;
}

// Whether this library may be used here; the log says why not.
bool isItsVersion() {
    auto* version = reinterpret_cast<decltype(&getInferLibVersion)>(ofTensorRT("getInferLibVersion"));
    int const major = version != nullptr ? version() / 10000 : NV_TENSORRT_MAJOR;
    if (major == NV_TENSORRT_MAJOR)
        return true;
    log(text("lorair plugin: it was built for TensorRT ", NV_TENSORRT_MAJOR, ", here is TensorRT ", major,
        ": build it again with `lorair-export plugin`"));
    return false;
}

std::vector<IPluginCreatorInterface*> const& creators() {
    static std::vector<Creator> all(std::begin(kOperators), std::end(kOperators));
    static std::vector<IPluginCreatorInterface*> const pointers = [] {
        std::vector<IPluginCreatorInterface*> made;
        for (Creator& creator : all)
            made.push_back(&creator);
        return made;
    }();
    return pointers;
}

// Hosts that open a library and ask it for nothing want its plugins in the process's registry.
// Where `loadLibrary` follows they must not be there yet: so only if the environment says so.
__attribute__((constructor)) void registerAtLoad() {
    if (std::getenv("LORAIR_STATIC_PLUGINS") == nullptr || !isItsVersion())
        return;
    auto* find = reinterpret_cast<decltype(&getPluginRegistry)>(ofTensorRT("getPluginRegistry"));
    IPluginRegistry* registry = find != nullptr ? find() : nullptr;
    if (registry == nullptr)
        return log("lorair plugin: there is no TensorRT to register with");
    for (IPluginCreatorInterface* creator : creators())
        registry->registerCreator(*creator, kNamespace);
}

} // namespace

// What TensorRT looks for in a library of plugins.

#define EXPORTED extern "C" __attribute__((visibility("default")))

EXPORTED void setLoggerFinder(ILoggerFinder* finder) {
    gFinder = finder;
}

EXPORTED IPluginCreatorInterface* const* getCreators(int32_t& count) {
    bool const usable = isItsVersion();
    count = usable ? static_cast<int32_t>(creators().size()) : 0;
    return usable ? creators().data() : nullptr;
}
