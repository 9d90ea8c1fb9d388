package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/metadata/metadatainformer"
	"k8s.io/client-go/tools/cache"
	watchtools "k8s.io/client-go/tools/watch"

	"knarr.dev/tests/clients/go/step"
)

// kinds are those that have an informer in client-go and are not experimental.
var kinds = map[string][]string{
	"v1": {
		"configmaps", "endpoints", "events", "limitranges", "namespaces", "nodes", "persistentvolumeclaims", "persistentvolumes",
		"pods", "podtemplates", "replicationcontrollers", "resourcequotas", "secrets", "serviceaccounts", "services",
	},
	"admissionregistration.k8s.io/v1": {
		"mutatingadmissionpolicies", "mutatingadmissionpolicybindings", "mutatingwebhookconfigurations",
		"validatingadmissionpolicies", "validatingadmissionpolicybindings", "validatingwebhookconfigurations",
	},
	"apps/v1":                         {"controllerrevisions", "daemonsets", "deployments", "replicasets", "statefulsets"},
	"autoscaling/v2":                  {"horizontalpodautoscalers"},
	"batch/v1":                        {"cronjobs", "jobs"},
	"certificates.k8s.io/v1":          {"certificatesigningrequests"},
	"coordination.k8s.io/v1":          {"leases"},
	"discovery.k8s.io/v1":             {"endpointslices"},
	"events.k8s.io/v1":                {"events"},
	"flowcontrol.apiserver.k8s.io/v1": {"flowschemas", "prioritylevelconfigurations"},
	"networking.k8s.io/v1":            {"ingressclasses", "ingresses", "ipaddresses", "networkpolicies", "servicecidrs"},
	"node.k8s.io/v1":                  {"runtimeclasses"},
	"policy/v1":                       {"poddisruptionbudgets"},
	"rbac.authorization.k8s.io/v1":    {"clusterrolebindings", "clusterroles", "rolebindings", "roles"},
	"resource.k8s.io/v1":              {"deviceclasses", "resourceclaims", "resourceclaimtemplates", "resourceslices"},
	"scheduling.k8s.io/v1":            {"priorityclasses"},
	"storage.k8s.io/v1":               {"csidrivers", "csinodes", "csistoragecapacities", "storageclasses", "volumeattachments", "volumeattributesclasses"},
}

// informerSteps are one for each kind: a shared informer that has synced.
func (c *clients) informerSteps() []step.Step {
	var steps []step.Step
	for version, resources := range kinds {
		gv, _ := schema.ParseGroupVersion(version)
		for _, resource := range resources {
			name := "informer-" + resource
			if resource == "events" && gv.Group != "" {
				name += ".events.k8s.io"
			}
			gvr := gv.WithResource(resource)
			steps = append(steps, step.Step{Name: name, Run: func(ctx context.Context) error { return c.syncs(ctx, gvr) }})
		}
	}
	slices.SortFunc(steps, func(a, b step.Step) int { return compare(a.Name, b.Name) })
	return steps
}

func compare(a, b string) int {
	if a < b {
		return -1
	}
	return 1
}

func (c *clients) syncs(ctx context.Context, gvr schema.GroupVersionResource) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	informer, err := informers.NewSharedInformerFactory(c.typed, 0).ForResource(gvr)
	if err != nil {
		return err
	}
	return synced(ctx, informer.Informer())
}

// synced runs an informer until it has synced; the last error of its watch otherwise.
func synced(ctx context.Context, informer cache.SharedIndexInformer) error {
	var last error
	failed := make(chan error, 1)
	err := informer.SetWatchErrorHandler(func(_ *cache.Reflector, err error) {
		select {
		case failed <- err:
		default:
		}
	})
	if err != nil {
		return err
	}
	go informer.Run(ctx.Done())
	for !informer.HasSynced() {
		select {
		case last = <-failed:
			// What is not there does not come by waiting.
			if apierrors.IsNotFound(last) {
				return last
			}
		case <-ctx.Done():
			return fmt.Errorf("not synced: %w", errors.Join(ctx.Err(), last))
		case <-time.After(10 * time.Millisecond):
		}
	}
	return nil
}

func (c *clients) watchSteps() []step.Step {
	return []step.Step{
		{Name: "watch", Run: c.watchEvents},
		{Name: "watch-bookmarks", Run: c.watchBookmarks},
		{Name: "watch-streams-list", Run: c.watchList},
		{Name: "watch-selected", Run: c.watchSelected},
		{Name: "retry-watcher", Run: c.retryWatcher},
		{Name: "dynamic-informer", Run: func(ctx context.Context) error {
			factory := dynamicinformer.NewFilteredDynamicSharedInformerFactory(c.dynamic, 0, namespace, nil)
			return c.seesChanges(ctx, "by-dynamic", factory.ForResource(configMaps).Informer())
		}},
		{Name: "metadata-informer", Run: func(ctx context.Context) error {
			factory := metadatainformer.NewFilteredSharedInformerFactory(c.metadata, 0, namespace, nil)
			return c.seesChanges(ctx, "by-metadata", factory.ForResource(configMaps).Informer())
		}},
		{Name: "typed-informer", Run: func(ctx context.Context) error {
			factory := informers.NewSharedInformerFactoryWithOptions(c.typed, 0, informers.WithNamespace(namespace))
			return c.seesChanges(ctx, "by-type", factory.Core().V1().ConfigMaps().Informer())
		}},
	}
}

// next is the next event that is no bookmark.
func next(ctx context.Context, events watch.Interface) (watch.Event, error) {
	for {
		select {
		case <-ctx.Done():
			return watch.Event{}, errors.New("no event comes")
		case event, open := <-events.ResultChan():
			switch {
			case !open:
				return event, errors.New("the watch has ended")
			case event.Type == watch.Error:
				return event, apierrors.FromObject(event.Object)
			case event.Type != watch.Bookmark:
				return event, nil
			}
		}
	}
}

// changes makes, changes and deletes a config map.
func (c *clients) changes(ctx context.Context, name string) error {
	api := c.typed.CoreV1().ConfigMaps(namespace)
	made, err := api.Create(ctx, configMap(name, "first"), metav1.CreateOptions{})
	if err != nil {
		return err
	}
	made.Data["key"] = "second"
	if _, err := api.Update(ctx, made, metav1.UpdateOptions{}); err != nil {
		return err
	}
	return api.Delete(ctx, name, metav1.DeleteOptions{})
}

func (c *clients) watchEvents(ctx context.Context) error {
	one := metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector("metadata.name", "watched").String()}
	events, err := c.typed.CoreV1().ConfigMaps(namespace).Watch(ctx, one)
	if err != nil {
		return err
	}
	defer events.Stop()
	if err := c.changes(ctx, "watched"); err != nil {
		return err
	}
	for _, wanted := range []watch.EventType{watch.Added, watch.Modified, watch.Deleted} {
		event, err := next(ctx, events)
		if err != nil {
			return err
		}
		if err := step.Want("the event", event.Type, wanted); err != nil {
			return err
		}
	}
	return nil
}

// watchBookmarks waits for one by the end of a watch, where upstream sends one for sure.
func (c *clients) watchBookmarks(ctx context.Context) error {
	seconds := int64(8)
	events, err := c.typed.CoreV1().Secrets(namespace).Watch(ctx, metav1.ListOptions{
		AllowWatchBookmarks: true, TimeoutSeconds: &seconds,
	})
	if err != nil {
		return err
	}
	defer events.Stop()
	for event := range events.ResultChan() {
		if event.Type == watch.Bookmark {
			return nil
		}
	}
	return errors.New("the watch ended without a bookmark")
}

func (c *clients) watchList(ctx context.Context) error {
	yes := true
	events, err := c.typed.CoreV1().ConfigMaps(namespace).Watch(ctx, metav1.ListOptions{
		SendInitialEvents: &yes, AllowWatchBookmarks: true, ResourceVersionMatch: metav1.ResourceVersionMatchNotOlderThan,
	})
	if err != nil {
		return err
	}
	defer events.Stop()
	for event := range events.ResultChan() {
		if event.Type == watch.Error {
			return apierrors.FromObject(event.Object)
		}
		if event.Type != watch.Bookmark {
			continue
		}
		object, ok := event.Object.(*corev1.ConfigMap)
		if ok && object.Annotations[metav1.InitialEventsAnnotationKey] == "true" {
			return nil
		}
	}
	return errors.New("the watch ended before the list's end was told")
}

// watchSelected sees an object come and go by its labels.
func (c *clients) watchSelected(ctx context.Context) error {
	api := c.typed.CoreV1().ConfigMaps(namespace)
	events, err := api.Watch(ctx, metav1.ListOptions{LabelSelector: "selected=yes"})
	if err != nil {
		return err
	}
	defer events.Stop()
	object, err := api.Create(ctx, configMap("selected", ""), metav1.CreateOptions{})
	if err != nil {
		return err
	}
	for _, wanted := range []watch.EventType{watch.Added, watch.Deleted} {
		if wanted == watch.Added {
			object.Labels["selected"] = "yes"
		} else {
			delete(object.Labels, "selected")
		}
		if object, err = api.Update(ctx, object, metav1.UpdateOptions{}); err != nil {
			return err
		}
		event, err := next(ctx, events)
		if err != nil {
			return err
		}
		if err := step.Want("the event", event.Type, wanted); err != nil {
			return err
		}
	}
	return nil
}

func (c *clients) retryWatcher(ctx context.Context) error {
	api := c.typed.CoreV1().ConfigMaps(namespace)
	list, err := api.List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	one := fields.OneTermEqualSelector("metadata.name", "retried").String()
	watcher := &cache.ListWatch{WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
		options.FieldSelector = one
		// So short that the watcher begins anew at least once.
		seconds := int64(1)
		options.TimeoutSeconds = &seconds
		return api.Watch(ctx, options)
	}}
	events, err := watchtools.NewRetryWatcherWithContext(ctx, list.ResourceVersion, watcher)
	if err != nil {
		return err
	}
	defer events.Stop()
	time.Sleep(1500 * time.Millisecond)
	if err := c.changes(ctx, "retried"); err != nil {
		return err
	}
	for _, wanted := range []watch.EventType{watch.Added, watch.Modified, watch.Deleted} {
		event, err := next(ctx, events)
		if err != nil {
			return err
		}
		if err := step.Want("the event", event.Type, wanted); err != nil {
			return err
		}
	}
	return nil
}

// seesChanges has an informer of config maps tell of one that is made, changed and deleted.
func (c *clients) seesChanges(ctx context.Context, name string, informer cache.SharedIndexInformer) error {
	seen := make(chan string, 16)
	tell := func(what string, object any) {
		if key, err := cache.DeletionHandlingMetaNamespaceKeyFunc(object); err == nil && key == namespace+"/"+name {
			seen <- what
		}
	}
	_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(object any) { tell("add", object) },
		UpdateFunc: func(_, object any) { tell("update", object) },
		DeleteFunc: func(object any) { tell("delete", object) },
	})
	if err != nil {
		return err
	}
	if err := synced(ctx, informer); err != nil {
		return err
	}
	if err := c.changes(ctx, name); err != nil {
		return err
	}
	for _, wanted := range []string{"add", "update", "delete"} {
		select {
		case what := <-seen:
			if err := step.Want("what is seen", what, wanted); err != nil {
				return err
			}
		case <-ctx.Done():
			return fmt.Errorf("no %s is seen", wanted)
		}
	}
	return nil
}
