// Answers questions about scheduling with upstream's own scheduler, for the tests of knarr's.
//
// Every line of the input is a question, there is one line of answer for each. Nothing is written to a cluster: the
// scheduler's caches and listers are filled by hand.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"sort"
	"time"

	v1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	clientscheme "k8s.io/client-go/kubernetes/scheme"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/events"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler"
	"k8s.io/kubernetes/pkg/scheduler/apis/config"
	"k8s.io/kubernetes/pkg/scheduler/apis/config/scheme"
	"k8s.io/kubernetes/pkg/scheduler/apis/config/validation"
	internalcache "k8s.io/kubernetes/pkg/scheduler/backend/cache"
	"k8s.io/kubernetes/pkg/scheduler/framework"
)

// An answer takes no longer.
const timeout = 30 * time.Second

type question struct {
	// A KubeSchedulerConfiguration in YAML; the default one if empty.
	Config string `json:"config"`
	// Whatever the scheduler knows, with apiVersion and kind.
	Objects []json.RawMessage `json:"objects"`
	// The pod that wants a node; without it only the configuration is read.
	Pod *v1.Pod `json:"pod"`
}

type answer struct {
	// The configuration is refused, or the scheduler failed.
	Error string `json:"error,omitempty"`
	// The nodes with the highest score; any of them may be chosen.
	Best []string `json:"best,omitempty"`
	// Of the event FailedScheduling, where no node fits; or why the pod is not tried yet.
	Message string `json:"message,omitempty"`
	// The node on which preemption makes room, and the pods that end, as namespace/name.
	Nominated string   `json:"nominated,omitempty"`
	Victims   []string `json:"victims,omitempty"`
	// What was said of each node.
	Nodes map[string]verdict `json:"nodes,omitempty"`
}

type verdict struct {
	Plugin  string           `json:"plugin,omitempty"`
	Reasons []string         `json:"reasons,omitempty"`
	Total   int64            `json:"total,omitempty"`
	Scores  map[string]int64 `json:"scores,omitempty"`
}

// The configuration as kube-scheduler reads it.
func read(text string) (*config.KubeSchedulerConfiguration, error) {
	if text == "" {
		text = "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\n"
	}
	object, kind, err := scheme.Codecs.UniversalDecoder().Decode([]byte(text), nil, nil)
	if err != nil {
		return nil, err
	}
	read, ok := object.(*config.KubeSchedulerConfiguration)
	if !ok {
		return nil, fmt.Errorf("couldn't decode as KubeSchedulerConfiguration, got %s: ", kind)
	}
	read.TypeMeta.APIVersion = kind.GroupVersion().String()
	if errs := validation.ValidateKubeSchedulerConfiguration(read); errs != nil {
		return nil, errs
	}
	return read, nil
}

func informerOf(factory informers.SharedInformerFactory, object runtime.Object) (cache.SharedIndexInformer, error) {
	kinds, _, err := clientscheme.Scheme.ObjectKinds(object)
	if err != nil {
		return nil, err
	}
	var found cache.SharedIndexInformer
	core, storage, apps := factory.Core().V1(), factory.Storage().V1(), factory.Apps().V1()
	switch kinds[0].Kind {
	case "Node":
		found = core.Nodes().Informer()
	case "Pod":
		found = core.Pods().Informer()
	case "Namespace":
		found = core.Namespaces().Informer()
	case "Service":
		found = core.Services().Informer()
	case "ReplicationController":
		found = core.ReplicationControllers().Informer()
	case "ReplicaSet":
		found = apps.ReplicaSets().Informer()
	case "StatefulSet":
		found = apps.StatefulSets().Informer()
	case "PodDisruptionBudget":
		found = factory.Policy().V1().PodDisruptionBudgets().Informer()
	case "PersistentVolume":
		found = core.PersistentVolumes().Informer()
	case "PersistentVolumeClaim":
		found = core.PersistentVolumeClaims().Informer()
	case "StorageClass":
		found = storage.StorageClasses().Informer()
	case "CSINode":
		found = storage.CSINodes().Informer()
	case "CSIDriver":
		found = storage.CSIDrivers().Informer()
	case "CSIStorageCapacity":
		found = storage.CSIStorageCapacities().Informer()
	case "VolumeAttachment":
		found = storage.VolumeAttachments().Informer()
	case "ResourceClaim", "ResourceSlice", "DeviceClass", "DeviceTaintRule":
		// Plugins read these from caches that informers' events fill: see feedDevices.
		return nil, nil
	default:
		return nil, fmt.Errorf("no informer of %s", kinds[0])
	}
	return found, nil
}

// A scheduler that knows the objects.
type cluster struct {
	sched    *scheduler.Scheduler
	snapshot *internalcache.Snapshot
	client   *fake.Clientset
}

func newCluster(ctx context.Context, cfg *config.KubeSchedulerConfiguration, objects []runtime.Object, placed types.UID) (*cluster, error) {
	client := fake.NewSimpleClientset(objects...)
	factory := informers.NewSharedInformerFactory(client, 0)
	snapshot := internalcache.NewEmptySnapshot()
	recorders := func(string) events.EventRecorderLogger { return events.NewFakeRecorder(1024) }
	sched, err := scheduler.New(ctx, client, factory, nil, recorders,
		scheduler.WithProfiles(cfg.Profiles...),
		scheduler.WithPercentageOfNodesToScore(cfg.PercentageOfNodesToScore),
		scheduler.WithExtenders(cfg.Extenders...),
		scheduler.WithComponentConfigVersion(cfg.APIVersion),
		scheduler.WithNodeInfoSnapshot(snapshot),
	)
	if err != nil {
		return nil, err
	}
	logger := klog.FromContext(ctx)
	var devices []runtime.Object
	for _, object := range objects {
		informer, err := informerOf(factory, object)
		if err != nil {
			return nil, err
		}
		if informer == nil {
			devices = append(devices, object)
		} else if err := informer.GetIndexer().Add(object); err != nil {
			return nil, err
		}
		switch object := object.(type) {
		case *v1.Node:
			sched.Cache.AddNode(logger, object)
		case *v1.Pod:
			if object.Spec.NodeName != "" {
				err = sched.Cache.AddPod(logger, object)
			} else if object.Status.NominatedNodeName != "" && object.UID != placed {
				// It waits, and holds room on its node.
				sched.SchedulingQueue.Add(ctx, object)
			}
		}
		if err != nil {
			return nil, err
		}
	}
	if len(devices) > 0 {
		if err := feedDevices(ctx, factory, sched, devices); err != nil {
			return nil, err
		}
	}
	return &cluster{sched, snapshot, client}, sched.Cache.UpdateSnapshot(logger, snapshot)
}

// Runs the informers of devices, and waits until the plugins know all objects.
func feedDevices(ctx context.Context, factory informers.SharedInformerFactory, sched *scheduler.Scheduler, objects []runtime.Object) error {
	resources := factory.Resource().V1()
	for _, informer := range []cache.SharedIndexInformer{
		resources.ResourceClaims().Informer(), resources.ResourceSlices().Informer(),
		resources.DeviceClasses().Informer(), resources.DeviceTaintRules().Informer(),
	} {
		go informer.RunWithContext(ctx)
	}
	var claims, slices, classes, rules, inUse int
	extended := map[v1.ResourceName]bool{}
	for _, object := range objects {
		switch object := object.(type) {
		case *resourcev1.ResourceClaim:
			claims++
			if allocation := object.Status.Allocation; allocation != nil {
				for _, result := range allocation.Devices.Results {
					if result.AdminAccess == nil || !*result.AdminAccess {
						inUse++
					}
				}
			}
		case *resourcev1.ResourceSlice:
			slices++
		case *resourcev1.DeviceClass:
			classes++
			if name := object.Spec.ExtendedResourceName; name != nil {
				extended[v1.ResourceName(*name)] = true
			}
		default:
			rules++
		}
	}
	// The profiles share one.
	var manager fwk.SharedDRAManager
	for _, profile := range sched.Profiles {
		manager = profile.SharedDRAManager()
	}
	// Each cache has handlers of its own, which end in no order.
	return wait.PollUntilContextCancel(ctx, time.Millisecond, true, func(context.Context) (bool, error) {
		seenClaims, err := manager.ResourceClaims().List()
		if err != nil {
			return false, err
		}
		seenSlices, err := manager.ResourceSlices().ListWithDeviceTaintRules()
		if err != nil {
			return false, err
		}
		seenClasses, err := manager.DeviceClasses().List()
		if err != nil {
			return false, err
		}
		seenInUse, err := manager.ResourceClaims().ListAllAllocatedDevices()
		if err != nil {
			// A claim came while it looked.
			return false, nil
		}
		for name := range extended {
			if manager.DeviceClassResolver().GetDeviceClass(name) == nil {
				return false, nil
			}
		}
		seenRules := len(resources.DeviceTaintRules().Informer().GetStore().List())
		return len(seenClaims) == claims && len(seenSlices) == slices && len(seenClasses) == classes &&
			seenInUse.Len() == inUse && seenRules == rules, nil
	})
}

func ask(q question) (answer, error) {
	cfg, err := read(q.Config)
	if err != nil {
		return answer{Error: err.Error()}, nil
	}
	var objects []runtime.Object
	for _, text := range q.Objects {
		object, _, err := clientscheme.Codecs.UniversalDeserializer().Decode(text, nil, nil)
		if err != nil {
			return answer{}, err
		}
		objects = append(objects, object)
	}
	var placed types.UID
	if q.Pod != nil {
		// Preemption looks the pod up.
		objects = append(objects, q.Pod)
		placed = q.Pod.UID
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	cluster, err := newCluster(ctx, cfg, objects, placed)
	if err != nil {
		return answer{Error: err.Error()}, nil
	}
	defer cluster.sched.SchedulingQueue.Close()
	if q.Pod == nil {
		return answer{}, nil
	}
	return cluster.place(ctx, q.Pod)
}

func (c *cluster) place(ctx context.Context, pod *v1.Pod) (answer, error) {
	name := pod.Spec.SchedulerName
	if name == "" {
		name = v1.DefaultSchedulerName
	}
	profile, ok := c.sched.Profiles[name]
	if !ok {
		return answer{}, fmt.Errorf("no profile %q", name)
	}
	for _, plugin := range profile.PreEnqueuePlugins() {
		if status := plugin.PreEnqueue(ctx, pod); !status.IsSuccess() {
			return answer{Message: status.Message()}, nil
		}
	}
	info, err := framework.NewPodInfo(pod)
	if err != nil {
		return answer{}, err
	}
	state := framework.NewCycleState()
	result, err := c.sched.SchedulePod(ctx, profile, state, &framework.QueuedPodInfo{PodInfo: info})
	var fit *framework.FitError
	switch {
	case err == nil && result.FeasibleNodes == 1:
		found := answer{Best: []string{result.SuggestedHost}}
		found.Nodes, _, err = c.explain(ctx, profile, pod)
		return found, err
	case err == nil:
		nodes, best, err := c.explain(ctx, profile, pod)
		return answer{Nodes: nodes, Best: best}, err
	case errors.As(err, &fit):
		var found answer
		if found.Nodes, _, err = c.explain(ctx, profile, pod); err != nil {
			return found, err
		}
		c.preempt(ctx, profile, state, pod, fit, &found)
		return found, nil
	case errors.Is(err, scheduler.ErrNoNodesAvailable):
		return answer{Message: err.Error()}, nil
	default:
		return answer{Error: err.Error()}, nil
	}
}

func (c *cluster) preempt(ctx context.Context, profile framework.Framework, state fwk.CycleState, pod *v1.Pod, fit *framework.FitError, found *answer) {
	if profile.HasPostFilterPlugins() {
		c.client.ClearActions()
		result, status := profile.RunPostFilterPlugins(ctx, state, pod, fit.Diagnosis.NodeToStatus)
		fit.Diagnosis.PostFilterMsg = status.Message()
		if result != nil && result.NominatingInfo != nil {
			found.Nominated = result.NominatedNodeName
		}
		for _, action := range c.client.Actions() {
			if gone, ok := action.(clienttesting.DeleteAction); ok {
				found.Victims = append(found.Victims, gone.GetNamespace()+"/"+gone.GetName())
			}
		}
		sort.Strings(found.Victims)
	}
	found.Message = fit.Error()
}

// What plugins say of each node, and which nodes are best.
func (c *cluster) explain(ctx context.Context, profile framework.Framework, pod *v1.Pod) (map[string]verdict, []string, error) {
	verdicts := map[string]verdict{}
	state := framework.NewCycleState()
	only, status, _ := profile.RunPreFilterPlugins(ctx, state, pod)
	if !status.IsSuccess() {
		return verdicts, nil, nil
	}
	nodes, err := c.snapshot.NodeInfos().List()
	if err != nil {
		return nil, nil, err
	}
	var fitting []fwk.NodeInfo
	for _, node := range nodes {
		if !only.AllNodes() && !only.NodeNames.Has(node.Node().Name) {
			continue
		}
		status := profile.RunFilterPluginsWithNominatedPods(ctx, state, pod, node)
		if status.IsSuccess() {
			fitting = append(fitting, node)
		} else {
			verdicts[node.Node().Name] = verdict{Plugin: status.Plugin(), Reasons: status.Reasons()}
		}
	}
	best, err := score(ctx, profile, state, pod, fitting, verdicts)
	return verdicts, best, err
}

func score(ctx context.Context, profile framework.Framework, state fwk.CycleState, pod *v1.Pod, fitting []fwk.NodeInfo, verdicts map[string]verdict) ([]string, error) {
	if status := profile.RunPreScorePlugins(ctx, state, pod, fitting); !status.IsSuccess() {
		return nil, status.AsError()
	}
	scored, status := profile.RunScorePlugins(ctx, state, pod, fitting)
	if !status.IsSuccess() {
		return nil, status.AsError()
	}
	var best []string
	var top int64
	for _, node := range scored {
		scores := map[string]int64{}
		for _, plugin := range node.Scores {
			scores[plugin.Name] = plugin.Score
		}
		verdicts[node.Name] = verdict{Total: node.TotalScore, Scores: scores}
		if len(best) == 0 || node.TotalScore > top {
			best, top = nil, node.TotalScore
		}
		if node.TotalScore == top {
			best = append(best, node.Name)
		}
	}
	sort.Strings(best)
	return best, nil
}

func quiet() {
	flags := flag.NewFlagSet("klog", flag.ContinueOnError)
	klog.InitFlags(flags)
	for name, value := range map[string]string{"logtostderr": "false", "alsologtostderr": "false", "stderrthreshold": "FATAL"} {
		if err := flags.Set(name, value); err != nil {
			log.Fatal(err)
		}
	}
	klog.SetOutput(io.Discard)
}

func main() {
	quiet()
	// So that victims are known once PostFilter has ended.
	if err := utilfeature.DefaultMutableFeatureGate.Set("SchedulerAsyncPreemption=false"); err != nil {
		log.Fatal(err)
	}
	in := bufio.NewReader(os.Stdin)
	out := json.NewEncoder(os.Stdout)
	for {
		line, err := in.ReadBytes('\n')
		if errors.Is(err, io.EOF) && len(line) == 0 {
			return
		}
		if err != nil && !errors.Is(err, io.EOF) {
			log.Fatal(err)
		}
		var q question
		if err := json.Unmarshal(line, &q); err != nil {
			log.Fatal(err)
		}
		found, err := ask(q)
		if err != nil {
			log.Fatal(err)
		}
		if err := out.Encode(found); err != nil {
			log.Fatal(err)
		}
	}
}
