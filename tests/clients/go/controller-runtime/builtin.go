package main

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	"knarr.dev/tests/clients/go/step"
)

const (
	copyLabel     = "fleet.knarr.dev/copied"
	copyFinalizer = "fleet.knarr.dev/copied"
)

// copier keeps a Secret with the data of every ConfigMap that is so labelled.
type copier struct{ client.Client }

func (r *copier) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	var source corev1.ConfigMap
	if err := r.Get(ctx, request.NamespacedName, &source); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if !source.DeletionTimestamp.IsZero() {
		controllerutil.RemoveFinalizer(&source, copyFinalizer)
		return ctrl.Result{}, r.Update(ctx, &source)
	}
	if controllerutil.AddFinalizer(&source, copyFinalizer) {
		if err := r.Update(ctx, &source); err != nil {
			return ctrl.Result{}, err
		}
	}
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: source.Namespace, Name: source.Name}}
	_, err := controllerutil.CreateOrUpdate(ctx, r.Client, secret, func() error {
		secret.Data = map[string][]byte{}
		for key, value := range source.Data {
			secret.Data[key] = []byte(value)
		}
		return controllerutil.SetControllerReference(&source, secret, r.Scheme())
	})
	return ctrl.Result{}, err
}

func (o *operator) builtinSteps() []step.Step {
	return []step.Step{
		{Name: "builtin-manager", Run: o.startCopier},
		{Name: "builtin-reconciles", Run: o.copies},
		{Name: "builtin-follows", Run: o.copiesChanges},
		{Name: "builtin-owned-again", Run: o.copiesAgain},
		{Name: "builtin-cleans-up", Run: o.cleansUp},
	}
}

// start runs a manager for the rest of the program, as an elected leader; it leads and has synced a kind when this returns.
func (o *operator) start(ctx context.Context, name string, kind client.Object, set func(ctrl.Manager) error) error {
	manager, err := ctrl.NewManager(o.config, ctrl.Options{
		Scheme: o.scheme, Metrics: server.Options{BindAddress: "0"},
		LeaderElection: true, LeaderElectionID: name, LeaderElectionNamespace: namespace,
	})
	if err != nil {
		return err
	}
	if err := set(manager); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- manager.Start(context.Background()) }()
	select {
	case err := <-ended:
		return fmt.Errorf("the manager has ended: %w", err)
	case <-ctx.Done():
		return errors.New("the manager does not come to lead")
	case <-manager.Elected():
	}
	// Waits until it has.
	_, err = manager.GetCache().GetInformer(ctx, kind)
	return err
}

func (o *operator) startCopier(ctx context.Context) error {
	return o.start(ctx, "copier", &corev1.ConfigMap{}, func(manager ctrl.Manager) error {
		labelled := predicate.NewPredicateFuncs(func(object client.Object) bool {
			_, is := object.GetLabels()[copyLabel]
			return is
		})
		return ctrl.NewControllerManagedBy(manager).
			For(&corev1.ConfigMap{}, builder.WithPredicates(labelled)).
			Owns(&corev1.Secret{}).
			Complete(&copier{manager.GetClient()})
	})
}

// copied waits for the Secret with a value, and gives it.
func (o *operator) copied(ctx context.Context, value string) (*corev1.Secret, error) {
	secret := &corev1.Secret{}
	err := step.Eventually(ctx, func(ctx context.Context) error {
		if err := o.user.Get(ctx, client.ObjectKey{Namespace: namespace, Name: "settings"}, secret); err != nil {
			return err
		}
		return step.Want("the value", string(secret.Data["key"]), value)
	})
	return secret, err
}

func (o *operator) copies(ctx context.Context) error {
	source := &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "settings", Labels: map[string]string{copyLabel: ""}},
		Data:       map[string]string{"key": "first"},
	}
	if err := o.user.Create(ctx, source); err != nil {
		return err
	}
	secret, err := o.copied(ctx, "first")
	if err != nil {
		return err
	}
	if !metav1.IsControlledBy(secret, source) {
		return errors.New("the Secret has no owner")
	}
	return nil
}

func (o *operator) copiesChanges(ctx context.Context) error {
	source := &corev1.ConfigMap{}
	if err := o.user.Get(ctx, client.ObjectKey{Namespace: namespace, Name: "settings"}, source); err != nil {
		return err
	}
	before := source.DeepCopy()
	source.Data["key"] = "second"
	if err := o.user.Patch(ctx, source, client.MergeFrom(before)); err != nil {
		return err
	}
	_, err := o.copied(ctx, "second")
	return err
}

func (o *operator) copiesAgain(ctx context.Context) error {
	old, err := o.copied(ctx, "second")
	if err != nil {
		return err
	}
	if err := o.user.Delete(ctx, old); err != nil {
		return err
	}
	return step.Eventually(ctx, func(ctx context.Context) error {
		made, err := o.copied(ctx, "second")
		if err == nil && made.UID == old.UID {
			err = errors.New("the Secret is the deleted one")
		}
		return err
	})
}

// cleansUp has the finalizer taken off, and the garbage collector do the rest.
func (o *operator) cleansUp(ctx context.Context) error {
	meta := metav1.ObjectMeta{Namespace: namespace, Name: "settings"}
	if err := o.user.Delete(ctx, &corev1.ConfigMap{ObjectMeta: meta}); err != nil {
		return err
	}
	return o.gone(ctx, &corev1.ConfigMap{ObjectMeta: meta}, &corev1.Secret{ObjectMeta: meta})
}

func (o *operator) gone(ctx context.Context, objects ...client.Object) error {
	for _, object := range objects {
		err := step.Eventually(ctx, func(ctx context.Context) error {
			err := o.user.Get(ctx, client.ObjectKeyFromObject(object), object)
			if apierrors.IsNotFound(err) {
				return nil
			}
			return errors.Join(fmt.Errorf("%T is there", object), err)
		})
		if err != nil {
			return err
		}
	}
	return nil
}
