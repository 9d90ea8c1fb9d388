// An operator as kubebuilder makes them: a manager with a cache, an elected leader and a webhook server; a reconciler for a kind
// of its own with a finalizer, a status and an object that it owns. The same again for a built-in kind, which needs no CRD.
package main

import (
	"context"
	"fmt"
	"os"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"

	"knarr.dev/tests/clients/go/step"
)

const namespace = "controller-runtime"

// operator is the program under test, and the client that plays its user.
type operator struct {
	config *rest.Config
	scheme *runtime.Scheme
	user   client.Client
}

func main() {
	// The log is standard error.
	ctrl.SetLogger(zap.New())
	o, err := newOperator()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	steps := []step.Step{{Name: "namespace", Run: o.makeNamespace}}
	steps = append(steps, o.builtinSteps()...)
	steps = append(steps, o.customSteps()...)
	steps = append(steps, o.webhookSteps()...)
	step.Main(steps...)
}

func newOperator() (*operator, error) {
	config, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	if err != nil {
		return nil, err
	}
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		clientgoscheme.AddToScheme, apiextensionsv1.AddToScheme, admissionregistrationv1.AddToScheme, addShips,
	} {
		if err := add(scheme); err != nil {
			return nil, err
		}
	}
	user, err := client.New(config, client.Options{Scheme: scheme})
	return &operator{config, scheme, user}, err
}

func (o *operator) makeNamespace(ctx context.Context) error {
	return o.user.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}})
}
