package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"

	"knarr.dev/tests/clients/go/step"
)

func (c *clients) electionSteps() []step.Step {
	return []step.Step{{Name: "leader-election", Run: c.electLeaders}}
}

// candidate leads until its context ends, and tells of both.
func (c *clients) candidate(ctx context.Context, name string, told chan<- string) error {
	lock, err := resourcelock.New(resourcelock.LeasesResourceLock, namespace, "leader", nil, c.typed.CoordinationV1(),
		resourcelock.ResourceLockConfig{Identity: name})
	if err != nil {
		return err
	}
	elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock: lock, Name: name, ReleaseOnCancel: true,
		LeaseDuration: 15 * time.Second, RenewDeadline: 10 * time.Second, RetryPeriod: 200 * time.Millisecond,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(context.Context) { told <- name + " leads" },
			OnStoppedLeading: func() { told <- name + " stops" },
		},
	})
	if err != nil {
		return err
	}
	go elector.Run(ctx)
	return nil
}

// electLeaders has a second candidate take over from one that lets go, long before the lease is out.
func (c *clients) electLeaders(ctx context.Context) error {
	told := make(chan string, 8)
	expect := func(wanted string) error {
		select {
		case found := <-told:
			return step.Want("what is told", found, wanted)
		case <-ctx.Done():
			return fmt.Errorf("in vain: %s", wanted)
		}
	}
	first, stepDown := context.WithCancel(ctx)
	defer stepDown()
	if err := errors.Join(c.candidate(first, "first", told), expect("first leads")); err != nil {
		return err
	}
	second, end := context.WithCancel(ctx)
	defer end()
	if err := c.candidate(second, "second", told); err != nil {
		return err
	}
	stepDown()
	if err := errors.Join(expect("first stops"), expect("second leads")); err != nil {
		return err
	}
	lease, err := c.typed.CoordinationV1().Leases(namespace).Get(ctx, "leader", metav1.GetOptions{})
	if err != nil {
		return err
	}
	return step.Want("the holder", *lease.Spec.HolderIdentity, "second")
}

func (c *clients) restartSteps() []step.Step {
	return []step.Step{{Name: "informer-through-restart", Run: c.throughRestart}}
}

// throughRestart has an informer live through a crash of the server: it must see what is made afterwards, and must not be told
// that anything else had changed.
func (c *clients) throughRestart(ctx context.Context) error {
	factory := informers.NewSharedInformerFactoryWithOptions(c.typed, 0, informers.WithNamespace(namespace))
	informer := factory.Core().V1().ConfigMaps().Informer()
	seen, began := make(chan string, 256), make(chan struct{})
	tell := func(what string, object any) {
		select {
		case <-began:
			if key, err := cache.DeletionHandlingMetaNamespaceKeyFunc(object); err == nil {
				seen <- what + " " + key
			}
		default:
		}
	}
	_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(object any) { tell("add", object) },
		DeleteFunc: func(object any) { tell("delete", object) },
		UpdateFunc: func(old, object any) {
			before, after := old.(metav1.Object), object.(metav1.Object)
			if before.GetResourceVersion() != after.GetResourceVersion() {
				tell("update", object)
			}
		},
	})
	if err != nil {
		return err
	}
	if err := synced(ctx, informer); err != nil {
		return err
	}
	close(began)
	if !step.Restart() {
		return step.Skip("this cluster cannot be restarted")
	}
	err = step.Eventually(ctx, func(ctx context.Context) error {
		_, err := c.typed.CoreV1().ConfigMaps(namespace).Create(ctx, configMap("afterwards", ""), metav1.CreateOptions{})
		return err
	})
	if err != nil {
		return err
	}
	select {
	case found := <-seen:
		return step.Want("what is seen", found, "add "+namespace+"/afterwards")
	case <-ctx.Done():
		return errors.New("the informer does not see what is made after the restart")
	}
}
