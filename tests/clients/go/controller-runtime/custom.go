package main

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"knarr.dev/tests/clients/go/step"
)

const shipFinalizer = "fleet.knarr.dev/harbour"

// shipwright reconciles ships.
type shipwright struct{ client.Client }

func (r *shipwright) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	var ship Ship
	if err := r.Get(ctx, request.NamespacedName, &ship); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if !ship.DeletionTimestamp.IsZero() {
		controllerutil.RemoveFinalizer(&ship, shipFinalizer)
		return ctrl.Result{}, r.Update(ctx, &ship)
	}
	if controllerutil.AddFinalizer(&ship, shipFinalizer) {
		if err := r.Update(ctx, &ship); err != nil {
			return ctrl.Result{}, err
		}
	}
	crew := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: ship.Namespace, Name: ship.Name}}
	_, err := controllerutil.CreateOrUpdate(ctx, r.Client, crew, func() error {
		crew.Data = map[string]string{"crew": fmt.Sprint(ship.Spec.Crew)}
		return controllerutil.SetControllerReference(&ship, crew, r.Scheme())
	})
	if err != nil {
		return ctrl.Result{}, err
	}
	ship.Status.ObservedGeneration = ship.Generation
	meta.SetStatusCondition(&ship.Status.Conditions, metav1.Condition{
		Type: "Ready", Status: metav1.ConditionTrue, Reason: "Manned", ObservedGeneration: ship.Generation,
	})
	return ctrl.Result{}, r.Status().Update(ctx, &ship)
}

func (o *operator) customSteps() []step.Step {
	return []step.Step{
		{Name: "custom-definition", Run: o.defineShips},
		{Name: "custom-manager", Run: func(ctx context.Context) error {
			return o.start(ctx, "shipwright", &Ship{}, func(manager ctrl.Manager) error {
				return ctrl.NewControllerManagedBy(manager).For(&Ship{}).Owns(&corev1.ConfigMap{}).
					Complete(&shipwright{manager.GetClient()})
			})
		}},
		{Name: "custom-reconciles", Run: func(ctx context.Context) error {
			if err := o.user.Create(ctx, ship("knarr", 20)); err != nil {
				return err
			}
			return o.manned(ctx, 1, "20")
		}},
		{Name: "custom-generation", Run: o.changeCrew},
		{Name: "custom-schema", Run: o.refuseCrew},
		{Name: "custom-status-apart", Run: o.statusApart},
		{Name: "custom-cleans-up", Run: func(ctx context.Context) error {
			if err := o.user.Delete(ctx, ship("knarr", 0)); err != nil {
				return err
			}
			crew := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "knarr"}}
			return o.gone(ctx, ship("knarr", 0), crew)
		}},
	}
}

func ship(name string, crew int64) *Ship {
	return &Ship{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Spec: ShipSpec{Crew: crew}}
}

func (o *operator) defineShips(ctx context.Context) error {
	definition := shipDefinition()
	if err := o.user.Create(ctx, definition); err != nil {
		return err
	}
	return step.Eventually(ctx, func(ctx context.Context) error {
		if err := o.user.Get(ctx, client.ObjectKeyFromObject(definition), definition); err != nil {
			return err
		}
		for _, condition := range definition.Status.Conditions {
			if condition.Type == apiextensionsv1.Established && condition.Status == apiextensionsv1.ConditionTrue {
				return nil
			}
		}
		return errors.New("the definition is not established")
	})
}

// manned waits until the operator has seen a generation, and made the crew.
func (o *operator) manned(ctx context.Context, generation int64, crew string) error {
	return step.Eventually(ctx, func(ctx context.Context) error {
		found := ship("knarr", 0)
		list := &corev1.ConfigMap{}
		if err := o.user.Get(ctx, client.ObjectKeyFromObject(found), found); err != nil {
			return err
		}
		if err := o.user.Get(ctx, client.ObjectKeyFromObject(found), list); err != nil {
			return err
		}
		return errors.Join(
			step.Want("the crew", list.Data["crew"], crew),
			step.Want("the generation that was observed", found.Status.ObservedGeneration, generation),
			step.Want("whether it is ready", meta.IsStatusConditionTrue(found.Status.Conditions, "Ready"), true),
		)
	})
}

func (o *operator) changeCrew(ctx context.Context) error {
	found := ship("knarr", 0)
	if err := o.user.Get(ctx, client.ObjectKeyFromObject(found), found); err != nil {
		return err
	}
	found.Spec.Crew = 30
	if err := o.user.Update(ctx, found); err != nil {
		return err
	}
	return o.manned(ctx, 2, "30")
}

func (o *operator) refuseCrew(ctx context.Context) error {
	if err := o.user.Create(ctx, ship("ghost", -1)); err == nil {
		return errors.New("a crew of -1 is accepted")
	} else if !isInvalid(err) {
		return err
	}
	return nil
}

// statusApart changes the status where only the rest can be changed.
func (o *operator) statusApart(ctx context.Context) error {
	found := ship("knarr", 0)
	if err := o.user.Get(ctx, client.ObjectKeyFromObject(found), found); err != nil {
		return err
	}
	found.Status = ShipStatus{ObservedGeneration: 99}
	if err := o.user.Update(ctx, found); err != nil {
		return err
	}
	return step.Want("the generation that was observed", found.Status.ObservedGeneration, 2)
}
